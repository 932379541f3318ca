/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "list.h"
#include "boot.h"
#include "driver.h"
#include "group.h"
#include "owner.h"
#include "pci.h"
#include "record.h"
#include "sysfs.h"
#include "usage.h"
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <libsmartcols/libsmartcols.h>
#include <strings.h>

/* A device, and what is read of it from its open directory when its turn comes. */
struct row {
	struct device dev;
	char *group; /* its number, only when the list goes by groups; NULL: in none */
	int dir;     /* O_PATH; -1: it could not be opened, as it is gone */
	struct binding binding;
	const struct holders *holders; /* of all rows, if that column is asked for */
	bool all_seen;		       /* all processes could be looked into for them */
	const struct boot_pins *pins;  /* of all rows; NULL: they could not be read */
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
	return sysfs_link_at(row->dir, "iommu_group");
}

static char *cell_node(const struct row *row)
{
	_cleanup_nodes_ struct vfio_nodes nodes = {0};

	if (driver_is_vfio(row->binding.driver))
		nodes = vfio_nodes(&row->dev);
	return copy(vfio_node(&nodes));
}

static char *cell_owner(const struct row *row)
{
	_cleanup_free_ char *node = cell_node(row);

	return node ? owner_text(node) : NULL;
}

static char *cell_model(const struct row *row)
{
	return device_model(&row->dev, row->dir);
}

static char *cell_host(const struct row *row)
{
	_cleanup_record_ struct record record = {0};
	_cleanup_free_ char *pf_driver = NULL;
	struct error e;
	/* Nobody knows whether it believes a flag that cannot be read. */
	bool unknown = streq(row->binding.driver_override, "?");
	struct binding is = {row->binding.driver,
			     unknown ? NULL : row->binding.driver_override};
	int found = record_read(&row->dev, &is, &record, &e);

	/* What an ordinary user may not read is none to him. */
	if (found < 0 && errno != EACCES) {
		sysfs_note(&e);
		return copy("?");
	}
	if (found <= 0)
		return NULL;
	if (unknown)
		return copy("?");
	pf_driver = pci_pf_driver(&row->dev);
	if (!record_is_home(&record.origin, pf_driver))
		return copy("?"); /* the kernel will choose */
	return copy(record.origin.driver ? record.origin.driver : DRIVER_NONE);
}

static char *cell_use(const struct row *row)
{
	return usage_names(&row->dev);
}

/* Add what a process has open that holds the device, through VFIO or its host driver.
 * Returns whether that is all. */
static bool add_files(const struct device *dev, struct file_ids *files)
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(dev);
	int err;

	for (size_t i = 0; i < nodes.files.n; i++)
		file_ids_add(files, nodes.files.file[i]);
	err = usage_files(dev, files);
	if (err == 0)
		return true;
	errno = -err;
	sysfs_note_unread(dev->path);
	return false;
}

static char *cell_holder(const struct row *row)
{
	_cleanup_files_ struct file_ids files = {0};
	bool known = add_files(&row->dev, &files) && row->all_seen &&
		     holders_know(row->holders, &files);
	char *text = holders_text(row->holders, &files, SIZE_MAX);

	return text || known ? text : copy("?");
}

static char *cell_lease(const struct row *row)
{
	return record_lease(&row->dev);
}

/* A pin that is not for the device that is there now, if one is, holds at no boot. */
static char *cell_boot(const struct row *row)
{
	const struct boot_pin *pin = row->pins ? boot_find(row->pins, &row->dev) : NULL;
	_cleanup_free_ char *modalias = NULL;

	if (!pin)
		return row->pins ? NULL : copy("?");
	modalias = sysfs_read_at(row->dir, "modalias");
	return format("%s%s", pin->driver,
		      row->dir >= 0 && boot_fits(pin, modalias) ? "" : "?");
}

static char *cell_modalias(const struct row *row)
{
	return sysfs_read_at(row->dir, "modalias");
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
	_cleanup_free_ char *total = sysfs_read_at(row->dir, "sriov_totalvfs");

	return total ? format("%zu/%s", pci_vfs(&row->dev), total) : NULL;
}

static char *cell_reset(const struct row *row)
{
	return sysfs_read_at(row->dir, "reset_method");
}

static char *cell_path(const struct row *row)
{
	return row->dir < 0 ? NULL : copy(row->dev.path);
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
	{"OWNER", "owner and mode of the VFIO node", cell_owner, false, 0},
	{"USE", "its interfaces, disks and other nodes", cell_use, false, 0},
	{"HOLDER", "processes that have it open, through VFIO or its host driver",
	 cell_holder, false, 0},
	{"LEASE", "COMMAND that it is leased to", cell_lease, false, 0},
	{"BOOT", "driver it is pinned to at boot; with ?: it is another device now",
	 cell_boot, false, 0},
	{"ID", "PCI vendor and device id", cell_id, false, 0},
	{"CLASS", "PCI class and subclass", cell_class, false, 0},
	{"PF", "the PF of this VF", cell_pf, false, 0},
	{"VFS", "VFs of this PF: enabled/possible", cell_vfs, false, 0},
	{"RESET", "methods to reset it, in the kernel's order", cell_reset, false, 0},
	{"MODALIAS", "modalias", cell_modalias, false, 0},
	{"PATH", "sysfs path", cell_path, false, 0},
};

struct selection {
	const struct column *column[2 * ARRAY_SIZE(columns)];
	size_t n;
};

const char *list_column(size_t i, const char **help)
{
	if (i >= ARRAY_SIZE(columns))
		return NULL;
	*help = columns[i].help;
	return columns[i].name;
}

static int select_column(struct selection *selection, const char *name, struct error *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		if (strcasecmp(columns[i].name, name) != 0)
			continue;
		if (selection->n == ARRAY_SIZE(selection->column))
			return error_set(e, STATUS_USAGE, "too many columns");
		selection->column[selection->n++] = &columns[i];
		return 0;
	}
	error_set(e, STATUS_USAGE, "unknown column: '%.64s'", name);
	return error_hint(e, "vfio-bind list --help shows the columns");
}

static bool is_selected(const struct selection *selection,
			char *(*cell)(const struct row *row))
{
	for (size_t c = 0; c < selection->n; c++) {
		if (selection->column[c]->cell == cell)
			return true;
	}
	return false;
}

static int select_columns(struct selection *selection, const struct list_options *options,
			  struct error *e)
{
	_cleanup_free_ char *list = copy(options->columns);
	char *rest = list, *name;

	*selection = (struct selection){0};
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
		bool by_default = columns[i].by_default ||
				  (options->boot && columns[i].cell == cell_boot);

		if (by_default && (!list || *list == '+'))
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

static void add_bus(struct devices *devices, const char *bus)
{
	_cleanup_free_ char *path = format("/sys/bus/%s/devices", bus);
	_cleanup_closedir_ DIR *links = opendir(path);
	struct dirent *link;

	while (links && (errno = 0, link = readdir(links))) {
		struct device dev;

		if (link->d_name[0] != '.' &&
		    device_of_bus(dirfd(links), bus, link->d_name, &dev) == 0)
			devices_append(devices, &dev);
	}
	if (errno)
		sysfs_note_unread(path);
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

/* A row for each, not read yet. */
static struct row *rows_of(const struct devices *devices, bool by_group, bool sort)
{
	size_t n = devices->n;
	struct row *rows = calloc(n + 1, sizeof(*rows));

	if (!rows)
		abort();
	for (size_t i = 0; i < n; i++) {
		rows[i].dev = devices->dev[i];
		rows[i].group = by_group ? group_number(&rows[i].dev) : NULL;
	}
	if (sort)
		qsort(rows, n, sizeof(*rows), compare);
	return rows;
}

/* Look at all processes once, for all rows. Returns 0, or -1 with @e: some could not be
 * seen. An ordinary user cannot see into all, which he knows. */
static int find_holders(struct row *rows, size_t n, const struct selection *selection,
			struct holders *holders, struct error *e)
{
	_cleanup_files_ struct file_ids files = {0};
	bool asked = is_selected(selection, cell_holder), all_seen;

	*holders = (struct holders){0};
	for (size_t i = 0; asked && i < n; i++) {
		IGNORE(add_files(&rows[i].dev, &files)); /* its cell shows it */
		rows[i].holders = holders;
	}
	all_seen = holders_find(&files, INT64_MAX, -1, holders, e) == 0 || geteuid() != 0;
	for (size_t i = 0; i < n; i++)
		rows[i].all_seen = all_seen;
	return all_seen ? 0 : -1;
}

static const char **paths_of(const struct row *rows, size_t n)
{
	const char **paths = calloc(n + 1, sizeof(*paths));

	if (!paths)
		abort();
	for (size_t i = 0; i < n; i++)
		paths[i] = rows[i].dev.path;
	return paths;
}

/* Read what the filters need. Returns whether the device can be flagged. */
static bool open_row(struct row *row, struct sysfs_reader *flags)
{
	char *flag = sysfs_reader_next(flags);
	bool flaggable = flag;

	row->dir = open(row->dev.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (row->dir < 0)
		sysfs_note_unread(row->dev.path);
	row->binding.driver = sysfs_link_at(row->dir, "driver");
	row->binding.driver_override = device_flag_value(flag);
	return flaggable;
}

/* Of thousands of rows, not all can be open at once. */
static void close_row(struct row *row)
{
	if (row->dir >= 0)
		close(row->dir);
	binding_clear(&row->binding);
}

/* Was it removed since it was found? Asked in its open folder, as there are thousands: it
 * has the link to its bus (bus_add_device) until then. With @any, for an operand, that is
 * noted: what is left of it would look like a device without a driver. */
static bool is_removed(const struct row *row, bool any)
{
	const char *entry = row->dir < 0 ? row->dev.path : "subsystem";
	struct error e;

	if (faccessat(row->dir, entry, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
		return false;
	error_set(&e, STATUS_USAGE, "%s: the device is gone: it was removed",
		  row->dev.name);
	if (any)
		sysfs_note(&e);
	return true;
}

static bool is_shown(const struct row *row, const struct list_options *options)
{
	if (options->boot && !(row->pins && boot_find(row->pins, &row->dev)))
		return false;
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

static struct libscols_table *new_table(const struct list_options *options,
					const struct selection *selection, bool tree)
{
	struct libscols_table *table = scols_new_table();

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
					       (tree && c == tree_column(selection)
							? SCOLS_FL_TREE
							: 0));
	return table;
}

static void add_line(struct libscols_table *table, struct libscols_line *parent,
		     const struct row *row, const struct selection *selection)
{
	struct libscols_line *line = new_line(table, parent);

	for (size_t c = 0; c < selection->n; c++) {
		char *cell = selection->column[c]->cell(row);

		if (cell)
			make_printable(cell);
		if (cell && scols_line_refer_data(line, c, cell) < 0)
			abort();
	}
}

/* Without @any, only the rows of devices that can be flagged. */
static void print(struct row *rows, size_t n, bool any,
		  const struct list_options *options, const struct selection *selection)
{
	bool tree = options->group && options->format != LIST_RAW;
	struct libscols_table *table = new_table(options, selection, tree);
	size_t label = options->format == LIST_JSON ? SIZE_MAX : tree_column(selection);
	struct libscols_line *parent = NULL;
	const char *group = NULL; /* the parent's */
	_cleanup_free_ const char **paths = paths_of(rows, n);
	struct sysfs_reader flags;

	sysfs_reader_start(&flags, paths, n, "driver_override");
	for (size_t i = 0; i < n; i++) {
		bool flaggable = open_row(&rows[i], &flags);

		/* What is pinned at boot is shown when it is absent, too. */
		if ((any || flaggable) && is_shown(&rows[i], options) &&
		    (options->boot || !is_removed(&rows[i], any))) {
			if (tree && !streq(rows[i].group, group)) {
				group = rows[i].group;
				parent =
					group ? group_line(table, group, selection, label)
					      : NULL;
			}
			add_line(table, parent, &rows[i], selection);
		}
		close_row(&rows[i]);
	}
	if (scols_print_table(table) < 0) /* without memory alone */
		abort();
	scols_unref_table(table);
}

/* Read what is pinned at boot, if that is asked for. Returns 0, or -1 with @e. */
static int find_pins(const struct selection *selection,
		     const struct list_options *options, struct boot_pins *pins,
		     struct error *e)
{
	*pins = (struct boot_pins){0};
	return options->boot || is_selected(selection, cell_boot) ? boot_read(pins, e)
								  : 0;
}

/* All that there are, and those that are pinned at boot. */
static void add_all(struct devices *devices, const struct names *buses,
		    const struct boot_pins *pins, const struct list_options *options)
{
	for (size_t i = 0; i < buses->n; i++) {
		if (!options->bus || streq(options->bus, buses->name[i]))
			add_bus(devices, buses->name[i]);
	}
	for (size_t i = 0; options->boot && i < pins->n; i++) {
		struct device dev = device_called(pins->pin[i].device);

		if (sysfs_has(dev.path, ""))
			device_clear(&dev);
		else
			devices_append(devices, &dev);
	}
}

int list_print(struct devices *devices, const struct list_options *options,
	       struct error *e)
{
	_cleanup_names_ struct names buses = sysfs_names("/sys/bus", "");
	_cleanup_pins_ struct boot_pins pins = {0};
	_cleanup_holders_ struct holders holders = {0};
	bool all = !devices->n;
	struct selection selection;
	struct row *rows;
	int result;

	if (check_bus(&buses, options->bus, e) < 0 ||
	    select_columns(&selection, options, e) < 0)
		return -1;
	/* libsmartcols would print debugging, or another JSON. */
	unsetenv("LIBSMARTCOLS_DEBUG");
	unsetenv("LIBSMARTCOLS_JSON");
	result = find_pins(&selection, options, &pins, e);
	if (all)
		add_all(devices, &buses, &pins, options);
	else if (options->group)
		add_groups(devices);
	/* Operands are shown in their own order. */
	rows = rows_of(devices, options->group, options->group || all);
	for (size_t i = 0; result == 0 && i < devices->n; i++)
		rows[i].pins = &pins;
	if (find_holders(rows, devices->n, &selection, &holders, e) < 0)
		result = -1;
	print(rows, devices->n, !all || options->boot, options, &selection);
	for (size_t i = 0; i < devices->n; i++)
		free(rows[i].group);
	free(rows);
	return result;
}
