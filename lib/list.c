/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "list.h"
#include "driver.h"
#include "group.h"
#include "record.h"
#include "sysfs.h"
#include "usage.h"
#include "vfio.h"

#include <errno.h>
#include <libsmartcols/libsmartcols.h>
#include <libudev.h>
#include <limits.h>
#include <stdio.h>
#include <strings.h>

/* A device, and what the filters need to know of it. */
struct row {
	struct device dev;
	struct binding binding;
};

static char *cell_device(const struct row *row)
{
	return copy(row->dev.name);
}

static char *cell_bus(const struct row *row)
{
	return copy(row->dev.bus);
}

static char *cell_driver(const struct row *row)
{
	return copy(row->binding.driver);
}

static char *cell_override(const struct row *row)
{
	return copy(row->binding.driver_override);
}

static char *cell_group(const struct row *row)
{
	return group_number(&row->dev);
}

static char *cell_node(const struct row *row)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes(&row->dev);

	return copy(nodes.group ? nodes.group : nodes.cdev);
}

static char *cell_model(const struct row *row)
{
	return device_model(&row->dev);
}

static char *cell_host(const struct row *row)
{
	_cleanup_record_ struct record record = {0};
	struct error ignored; /* an ordinary user may not read it */

	record_read(&row->dev, &row->binding, &record, &ignored);
	return copy(record.origin.driver);
}

static char *cell_use(const struct row *row)
{
	return usage_names(&row->dev);
}

static char *cell_holder(const struct row *row)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes(&row->dev);

	return nodes.group || nodes.cdev ? vfio_holders(&row->dev, &nodes, 0) : NULL;
}

static char *cell_modalias(const struct row *row)
{
	return sysfs_read(row->dev.path, "modalias");
}

static char *cell_path(const struct row *row)
{
	return copy(row->dev.path);
}

static const struct column {
	const char *name, *help;
	char *(*cell)(const struct row *row); /* a new string; NULL: empty */
	bool by_default;
	int flags;
} columns[] = {
	{"DEVICE", "name on its bus", cell_device, true, 0},
	{"BUS", "bus", cell_bus, true, 0},
	{"DRIVER", "driver bound to it", cell_driver, true, 0},
	{"OVERRIDE", "driver_override: the only driver that may bind", cell_override,
	 true, 0},
	{"GROUP", "IOMMU group", cell_group, true, 0},
	{"NODE", "VFIO node", cell_node, true, 0},
	{"MODEL", "hardware: model, compatible or ACPI id", cell_model, true,
	 SCOLS_FL_TRUNC},
	{"HOST", "driver it will go back to", cell_host, false, 0},
	{"USE", "its interfaces and disks", cell_use, false, 0},
	{"HOLDER", "process that holds it through VFIO", cell_holder, false, 0},
	{"MODALIAS", "modalias", cell_modalias, false, 0},
	{"PATH", "sysfs path", cell_path, false, 0},
};

#define N_COLUMNS (sizeof(columns) / sizeof(*columns))

struct selection {
	const struct column *column[2 * N_COLUMNS];
	size_t n;
};

const char *list_column(size_t i, const char **help)
{
	if (i >= N_COLUMNS)
		return NULL;
	*help = columns[i].help;
	return columns[i].name;
}

static int select_column(struct selection *selection, const char *name, struct error *e)
{
	for (size_t i = 0; i < N_COLUMNS; i++) {
		if (strcasecmp(columns[i].name, name) != 0)
			continue;
		if (selection->n ==
		    sizeof(selection->column) / sizeof(*selection->column))
			return error_set(e, STATUS_USAGE, "too many columns");
		selection->column[selection->n++] = &columns[i];
		return 0;
	}
	return error_set(e, STATUS_USAGE, "unknown column: '%.64s'", name);
}

static int select_columns(struct selection *selection, const char *names, struct error *e)
{
	_cleanup_free_ char *list = copy(names);
	char *rest = list, *name;

	*selection = (struct selection){0};
	for (size_t i = 0; i < N_COLUMNS; i++) {
		if (columns[i].by_default && (!list || *list == '+'))
			selection->column[selection->n++] = &columns[i];
	}
	if (rest && *rest == '+')
		rest++;
	while ((name = strsep(&rest, ",")) != NULL) {
		if (select_column(selection, name, e) < 0)
			return -1;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int by_bus = strcmp(x->dev.bus, y->dev.bus);

	return by_bus ? by_bus : strverscmp(x->dev.name, y->dev.name);
}

static struct row *row_add(struct row **rows, size_t *n)
{
	*rows = reallocarray(*rows, *n + 1, sizeof(**rows));
	if (!*rows)
		abort();
	(*rows)[*n] = (struct row){0};
	return &(*rows)[(*n)++];
}

/* All devices on the buses that have a driver_override. */
static int enumerate(const char *bus, struct row **rows, size_t *n, struct error *e)
{
	_cleanup_names_ struct names buses = sysfs_names("/sys/bus", "");
	struct udev *udev = udev_new();
	struct udev_enumerate *all = udev ? udev_enumerate_new(udev) : NULL;
	struct udev_list_entry *entry;
	bool any = false;

	for (size_t i = 0; all && i < buses.n; i++) {
		if (bus && !streq(bus, buses.name[i]))
			continue;
		udev_enumerate_add_match_subsystem(all, buses.name[i]);
		any = true;
	}
	if (any && udev_enumerate_scan_devices(all) >= 0) {
		udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all)) {
			const char *path = udev_list_entry_get_name(entry);
			struct device dev;

			if (sysfs_has(path, "driver_override") &&
			    device_at(path, &dev) == 0)
				row_add(rows, n)->dev = dev;
		}
	}
	udev_enumerate_unref(all);
	udev_unref(udev);
	if (!any)
		return error_set(e, STATUS_USAGE, "no such bus: '%.64s'", bus ? bus : "");
	if (*n)
		qsort(*rows, *n, sizeof(**rows), compare);
	return 0;
}

static void read_bindings(struct row *rows, size_t n)
{
	const char **paths = calloc(n + 1, sizeof(*paths));
	char **overrides = calloc(n + 1, sizeof(*overrides));

	if (!paths || !overrides)
		abort();
	for (size_t i = 0; i < n; i++)
		paths[i] = rows[i].dev.path;
	sysfs_read_all(paths, n, "driver_override", overrides);
	for (size_t i = 0; i < n; i++) {
		rows[i].binding.driver_override = device_override_value(overrides[i]);
		rows[i].binding.driver = sysfs_link(rows[i].dev.path, "driver");
	}
	free(paths);
	free(overrides);
}

static bool is_shown(const struct row *row, const struct list_options *options)
{
	if (options->bus && !streq(options->bus, row->dev.bus))
		return false;
	return !options->taken || row->binding.driver_override ||
	       driver_is_vfio(row->binding.driver);
}

static void print(struct row *rows, size_t n, const struct list_options *options,
		  const struct selection *selection)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		abort();
	scols_table_set_name(table, "devices");
	scols_table_enable_json(table, options->format == LIST_JSON);
	scols_table_enable_raw(table, options->format == LIST_RAW);
	scols_table_enable_noheadings(table, options->noheadings);
	for (size_t c = 0; c < selection->n; c++)
		scols_table_new_column(table, selection->column[c]->name, 0,
				       selection->column[c]->flags);
	for (size_t i = 0; i < n; i++) {
		struct libscols_line *line;

		if (!is_shown(&rows[i], options))
			continue;
		line = scols_table_new_line(table, NULL);
		if (!line)
			abort();
		for (size_t c = 0; c < selection->n; c++) {
			char *cell = selection->column[c]->cell(&rows[i]);

			if (cell && scols_line_refer_data(line, c, cell) < 0)
				abort();
		}
	}
	scols_print_table(table);
	scols_unref_table(table);
}

int list_print(const struct device *devs, size_t n, const struct list_options *options,
	       struct error *e)
{
	struct selection selection;
	struct row *rows = NULL;
	size_t n_rows = 0;

	if (select_columns(&selection, options->columns, e) < 0)
		return -1;
	scols_init_debug(0);
	if (!devs && enumerate(options->bus, &rows, &n_rows, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		row_add(&rows, &n_rows)->dev =
			(struct device){.bus = copy(devs[i].bus),
					.name = copy(devs[i].name),
					.path = copy(devs[i].path)};
	read_bindings(rows, n_rows);
	print(rows, n_rows, options, &selection);
	for (size_t i = 0; i < n_rows; i++) {
		device_clear(&rows[i].dev);
		binding_clear(&rows[i].binding);
	}
	free(rows);
	return 0;
}
