/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "list.h"
#include "driver.h"
#include "group.h"
#include "pci.h"
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
	char *group; /* its number, only when the list goes by groups; NULL: in none */
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

	if (record_read(&row->dev, &row->binding, &record, &ignored) <= 0)
		return NULL;
	return copy(record.origin.driver ? record.origin.driver : DRIVER_NONE);
}

static char *cell_use(const struct row *row)
{
	return usage_names(&row->dev);
}

static char *cell_holder(const struct row *row)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(&row->dev);

	return nodes.group || nodes.cdev ? vfio_holders(&row->dev, &nodes, 0) : NULL;
}

static char *cell_modalias(const struct row *row)
{
	return sysfs_read(row->dev.path, "modalias");
}

static char *cell_id(const struct row *row)
{
	return pci_id(&row->dev);
}

static char *cell_class(const struct row *row)
{
	return pci_class(&row->dev);
}

static char *cell_pf(const struct row *row)
{
	_cleanup_device_ struct device pf = {0};

	return pci_pf(&row->dev, &pf) == 0 ? copy(pf.name) : NULL;
}

static char *cell_vfs(const struct row *row)
{
	_cleanup_free_ char *total = sysfs_read(row->dev.path, "sriov_totalvfs");

	return total ? format("%zu/%s", pci_vfs(&row->dev), total) : NULL;
}

static char *cell_reset(const struct row *row)
{
	return sysfs_read(row->dev.path, "reset_method");
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
	{"HOST", "driver it will go back to; none: to no driver", cell_host, false, 0},
	{"USE", "its interfaces and disks", cell_use, false, 0},
	{"HOLDER", "process that holds it, or its group, through VFIO", cell_holder,
	 false, 0},
	{"ID", "PCI vendor and device id", cell_id, false, 0},
	{"CLASS", "PCI class and subclass", cell_class, false, 0},
	{"PF", "the PF of this VF", cell_pf, false, 0},
	{"VFS", "VFs of this PF: enabled/possible", cell_vfs, false, 0},
	{"RESET", "methods to reset it, in the kernel's order", cell_reset, false, 0},
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
	error_set(e, STATUS_USAGE, "unknown column: '%.64s'", name);
	return error_hint(e, "vfio-bind list --help shows the columns");
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

/* By group, those in none last; then by bus and name. */
static int compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int by_group = x->group && y->group ? strverscmp(x->group, y->group)
					    : !x->group - !y->group;
	int by_bus = strcmp(x->dev.bus, y->dev.bus);

	if (by_group || by_bus)
		return by_group ? by_group : by_bus;
	return streq(x->dev.bus, "pci") /* hexadecimal, of one length */
		       ? strcmp(x->dev.name, y->dev.name)
		       : strverscmp(x->dev.name, y->dev.name);
}

/* @bus shall be one of these; NULL: any. */
static int check_bus(const struct names *buses, const char *bus, struct error *e)
{
	if (!buses->n)
		return error_set(e, STATUS_FAILED, "cannot read /sys/bus: %s",
				 strerror(errno));
	if (!bus || names_have(buses, bus))
		return 0;
	return error_set(e, STATUS_USAGE, "no such bus: '%.64s'", bus);
}

/* All devices on these buses, or one of them, that have a driver_override. */
static void enumerate(const struct names *buses, const char *bus, struct devices *devices)
{
	struct udev *udev = udev_new();
	struct udev_enumerate *all = udev ? udev_enumerate_new(udev) : NULL;
	struct udev_list_entry *entry;

	for (size_t i = 0; all && i < buses->n; i++) {
		if (!bus || streq(bus, buses->name[i]))
			udev_enumerate_add_match_subsystem(all, buses->name[i]);
	}
	if (all && udev_enumerate_scan_devices(all) >= 0) {
		udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(all)) {
			const char *path = udev_list_entry_get_name(entry);
			struct device dev;

			if (sysfs_has(path, "driver_override") &&
			    device_at(path, &dev) == 0)
				devices_append(devices, &dev);
		}
	}
	udev_enumerate_unref(all);
	udev_unref(udev);
}

/* The devices with all members of their groups. */
static void add_groups(struct devices *devices)
{
	size_t n = devices->n;

	for (size_t i = 0; i < n; i++) {
		_cleanup_devices_ struct devices members =
			group_members(&devices->dev[i]);

		for (size_t j = 0; j < members.n; j++)
			devices_add(devices, &members.dev[j]);
	}
}

/* A row for each. */
static struct row *rows_of(const struct devices *devices, bool by_group, bool sort)
{
	size_t n = devices->n;
	struct row *rows = calloc(n + 1, sizeof(*rows));
	const char **paths = calloc(n + 1, sizeof(*paths));
	char **overrides = calloc(n + 1, sizeof(*overrides));

	if (!rows || !paths || !overrides)
		abort();
	for (size_t i = 0; i < n; i++) {
		rows[i].dev = devices->dev[i];
		rows[i].group = by_group ? group_number(&rows[i].dev) : NULL;
	}
	if (sort)
		qsort(rows, n, sizeof(*rows), compare);
	for (size_t i = 0; i < n; i++)
		paths[i] = rows[i].dev.path;
	sysfs_read_all(paths, n, "driver_override", overrides);
	for (size_t i = 0; i < n; i++) {
		rows[i].binding.driver_override = device_override_value(overrides[i]);
		rows[i].binding.driver = sysfs_link(rows[i].dev.path, "driver");
	}
	free(paths);
	free(overrides);
	return rows;
}

static bool is_shown(const struct row *row, const struct list_options *options)
{
	if (options->bus && !streq(options->bus, row->dev.bus))
		return false;
	return !options->taken || row->binding.driver_override ||
	       driver_is_vfio(row->binding.driver);
}

static struct libscols_line *new_line(struct libscols_table *table,
				      struct libscols_line *parent)
{
	struct libscols_line *line = scols_table_new_line(table, parent);

	if (!line)
		abort();
	return line;
}

/* The line above those of a group: its number, and in column @label, if that is one, a
 * name for people. */
static struct libscols_line *group_line(struct libscols_table *table, const char *group,
					const struct selection *selection, size_t label)
{
	struct libscols_line *line = new_line(table, NULL);
	_cleanup_free_ char *name = format("group %s", group);

	for (size_t c = 0; c < selection->n; c++) {
		const char *text = c == label				      ? name
				   : selection->column[c]->cell == cell_group ? group
									      : NULL;

		if (text && scols_line_set_data(line, c, text) < 0)
			abort();
	}
	return line;
}

/* The column that groups and their members are named in: DEVICE, or the first. */
static size_t tree_column(const struct selection *selection)
{
	for (size_t c = 0; c < selection->n; c++) {
		if (selection->column[c]->cell == cell_device)
			return c;
	}
	return 0;
}

static void print(struct row *rows, size_t n, const struct list_options *options,
		  const struct selection *selection)
{
	struct libscols_table *table = scols_new_table();
	bool tree = options->group && options->format != LIST_RAW;
	size_t trunk = tree_column(selection);
	size_t label = options->format == LIST_JSON ? SIZE_MAX : trunk;
	struct libscols_line *parent = NULL;
	const char *group = NULL; /* the parent's */

	if (!table)
		abort();
	scols_table_set_name(table, "devices");
	scols_table_enable_json(table, options->format == LIST_JSON);
	scols_table_enable_raw(table, options->format == LIST_RAW);
	/* JSON has none to leave out. */
	scols_table_enable_noheadings(table, options->noheadings &&
						     options->format != LIST_JSON);
	for (size_t c = 0; c < selection->n; c++)
		scols_table_new_column(table, selection->column[c]->name, 0,
				       selection->column[c]->flags |
					       (tree && c == trunk ? SCOLS_FL_TREE : 0));
	for (size_t i = 0; i < n; i++) {
		struct libscols_line *line;

		if (!is_shown(&rows[i], options))
			continue;
		if (tree && !streq(rows[i].group, group)) {
			group = rows[i].group;
			parent =
				group ? group_line(table, group, selection, label) : NULL;
		}
		line = new_line(table, parent);
		for (size_t c = 0; c < selection->n; c++) {
			char *cell = selection->column[c]->cell(&rows[i]);

			if (cell && scols_line_refer_data(line, c, cell) < 0)
				abort();
		}
	}
	scols_print_table(table);
	scols_unref_table(table);
}

int list_print(struct devices *devices, const struct list_options *options,
	       struct error *e)
{
	_cleanup_names_ struct names buses = sysfs_names("/sys/bus", "");
	bool all = !devices->n;
	struct selection selection;
	struct row *rows;

	if (check_bus(&buses, options->bus, e) < 0 ||
	    select_columns(&selection, options->columns, e) < 0)
		return -1;
	scols_init_debug(0);
	if (all)
		enumerate(&buses, options->bus, devices);
	else if (options->group)
		add_groups(devices);
	/* Operands are shown in their own order. */
	rows = rows_of(devices, options->group, options->group || all);
	print(rows, devices->n, options, &selection);
	for (size_t i = 0; i < devices->n; i++) {
		free(rows[i].group);
		binding_clear(&rows[i].binding);
	}
	free(rows);
	return 0;
}
