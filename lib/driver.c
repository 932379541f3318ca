/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver.h"
#include "name.h"
#include "sysfs.h"

#include <errno.h>
#include <fnmatch.h>
#include <libkmod.h>
#include <limits.h>
#include <stddef.h>

/* The modules that an alias stands for. */
struct modules {
	struct kmod_ctx *ctx;
	struct kmod_list *list; /* NULL: none */
};

static void modules_clear(struct modules *modules)
{
	kmod_module_unref_list(modules->list);
	kmod_unref(modules->ctx);
}

#define _cleanup_modules_ __attribute__((cleanup(modules_clear)))

static void unref(struct kmod_module **module)
{
	kmod_module_unref(*module);
}

#define _cleanup_kmod_ __attribute__((cleanup(unref)))

/* The modules for @alias, a module's name or a modalias; NULL or empty: none. */
static struct modules modules_for(const char *alias)
{
	struct modules modules = {0};

	if (!alias || !*alias)
		return modules;
	modules.ctx = kmod_new(NULL, NULL);
	if (!modules.ctx) {
		sysfs_note_unread("modprobe.d");
		return modules;
	}
	/* libkmod prints nothing, not even errors: vfio-bind.c tells the user. */
	kmod_set_log_priority(modules.ctx, -1);
	errno = 0; /* libkmod returns -ENOSYS whatever keeps it from its files */
	if (kmod_module_new_from_lookup(modules.ctx, alias, &modules.list) < 0) {
		sysfs_note_unread("the modules' aliases");
		modules.list = NULL;
	}
	return modules;
}

/* The same, without the modules that modprobe.d(5) blacklists. */
static struct modules modules_to_load(const char *alias)
{
	struct modules modules = modules_for(alias);
	struct kmod_list *kept;

	if (kmod_module_apply_filter(modules.ctx, KMOD_FILTER_BLACKLIST, modules.list,
				     &kept) == 0) {
		kmod_module_unref_list(modules.list);
		modules.list = kept;
	}
	return modules;
}

static struct modules modules_for_device(const struct device *dev)
{
	_cleanup_free_ char *modalias = sysfs_read(dev->path, "modalias");

	return modules_for(modalias);
}

/* In a dry run no module is loaded, so what only the loaded one could tell is unknown. */
enum { WOULD_LOAD = 1 };

static bool is_loaded(struct kmod_module *module)
{
	int state = kmod_module_get_initstate(module);

	return state == KMOD_MODULE_LIVE || state == KMOD_MODULE_BUILTIN;
}

/* Load the module (a step). Returns 0, -errno, or in a dry run WOULD_LOAD. */
static int load(struct kmod_module *module)
{
	_cleanup_free_ char *line = format("modprobe %s", kmod_module_get_name(module));
	int err = WOULD_LOAD;

	if (is_loaded(module))
		return 0;
	sysfs_step_begins(line);
	if (!sysfs_is_dry_run())
		err = kmod_module_probe_insert_module(module, 0, NULL, NULL, NULL, NULL);
	sysfs_step_ended();
	return err;
}

/* Returns 0, the error of the first module that could not be loaded, or WOULD_LOAD. */
static int load_all(const struct modules *modules)
{
	struct kmod_list *entry;
	int result = 0;

	kmod_list_foreach(entry, modules->list) {
		_cleanup_kmod_ struct kmod_module *module = kmod_module_get_module(entry);
		int r = load(module);

		if (r != 0 && result == 0)
			result = r;
	}
	return result;
}

char *driver_folded(const char *name)
{
	char *result = copy(name);

	for (char *c = result; *c; c++) {
		if (*c == '-')
			*c = '_';
	}
	return result;
}

char *driver_registered(const char *bus, const char *name)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers", bus);
	_cleanup_names_ struct names drivers = sysfs_names(dir, "");
	_cleanup_free_ char *wanted = driver_folded(name);
	char *found = NULL;

	for (size_t i = 0; i < drivers.n; i++) {
		_cleanup_free_ char *driver = driver_folded(drivers.name[i]);

		if (streq(drivers.name[i], name)) {
			free(found);
			return copy(name);
		}
		if (!found && streq(driver, wanted))
			found = copy(drivers.name[i]);
	}
	return found;
}

char *driver_load(const char *bus, const char *name, struct error *e)
{
	bool sane = strlen(name) <= NAME_MAX && !strpbrk(name, "/\n");
	_cleanup_modules_ struct modules modules = {0};
	_cleanup_device_ struct device other = {0};
	char *driver = driver_registered(bus, name);
	struct error ignored;
	int err;

	if (driver)
		return driver;
	modules = modules_for(sane ? name : NULL);
	err = load_all(&modules);
	driver = driver_registered(bus, name);
	if (driver)
		return driver;
	if (err == WOULD_LOAD)
		return copy(name);
	if (sysfs_check_read(e) < 0)
		return NULL;
	if (err)
		error_set(e, STATUS_USAGE,
			  "no driver %.64s on the %s bus: its module cannot be loaded: "
			  "%s",
			  name, bus, strerror(-err));
	else
		error_set(e, STATUS_USAGE, "no driver %.64s on the %s bus%s",
			  *name ? name : "''", bus,
			  modules.list ? ", even with the module of that name loaded"
				       : "");
	if (name_find(name, &other, &ignored) == 0)
		error_hint(e, "that is a device: handoff takes several of them with "
			      "--driver=DRIVER");
	else if (!modules.list)
		error_hint(e, "no module has that name either; if the driver's module is "
			      "named differently, load it first");
	return NULL;
}

void driver_load_for(const struct device *dev)
{
	_cleanup_free_ char *modalias = sysfs_read(dev->path, "modalias");
	_cleanup_modules_ struct modules modules = modules_to_load(modalias);

	IGNORE(load_all(&modules)); /* if one fails, the bind says why */
}

/* Add the drivers on @bus that this module has registered. */
static void add_drivers(struct names *drivers, struct kmod_module *module,
			const char *bus)
{
	_cleanup_free_ char *dir =
		format("/sys/module/%s/drivers", kmod_module_get_name(module));
	_cleanup_free_ char *prefix = format("%s:", bus);
	_cleanup_names_ struct names links = sysfs_names(dir, prefix);

	for (size_t i = 0; i < links.n; i++)
		names_add(drivers, links.name[i] + strlen(prefix));
}

/* The drivers on the device's bus that the modules for it have registered. */
static struct names drivers_for(const struct device *dev)
{
	_cleanup_modules_ struct modules modules = modules_for_device(dev);
	struct names drivers = {0};
	struct kmod_list *entry;

	kmod_list_foreach(entry, modules.list) {
		_cleanup_kmod_ struct kmod_module *module = kmod_module_get_module(entry);

		add_drivers(&drivers, module, dev->bus);
	}
	return drivers;
}

struct names driver_all(const struct device *dev)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers", dev->bus);
	_cleanup_names_ struct names registered = sysfs_names(dir, "");
	struct names drivers = drivers_for(dev);

	for (size_t i = 0; i < registered.n; i++) {
		if (!names_have(&drivers, registered.name[i]))
			names_add(&drivers, registered.name[i]);
	}
	return drivers;
}

/* The module's own aliases, not those of modprobe.d(5). */
static struct names aliases_of(struct kmod_module *module)
{
	struct kmod_list *info = NULL, *entry;
	struct names aliases = {0};

	int err = kmod_module_get_info(module, &info);

	if (err < 0) {
		errno = -err;
		sysfs_note_unread(kmod_module_get_name(module));
		return aliases;
	}
	kmod_list_foreach(entry, info) {
		if (streq(kmod_module_info_get_key(entry), "alias"))
			names_add(&aliases, kmod_module_info_get_value(entry));
	}
	kmod_module_info_free_list(info);
	return aliases;
}

size_t driver_alias_wildcards(const struct names *aliases, const char *modalias)
{
	size_t fewest = SIZE_MAX;

	for (size_t i = 0; i < aliases->n; i++) {
		size_t n = 0;

		if (fnmatch(aliases->name[i], modalias, 0) != 0)
			continue;
		for (const char *c = aliases->name[i]; *c; c++)
			n += *c == '*';
		if (n < fewest)
			fewest = n;
	}
	return fewest == SIZE_MAX ? 0 : fewest;
}

/* The module of the variant driver that fits the device best; vfio-pci itself fits all
 * (the vfio_pci: aliases of PCI_DRIVER_OVERRIDE_DEVICE_VFIO: scripts/mod/file2alias.c).
 */
static struct kmod_module *best_variant(const struct modules *modules, const char *alias)
{
	struct kmod_module *best = NULL;
	struct kmod_list *entry;
	size_t fewest = SIZE_MAX;

	/* One module needs no comparison: reading its aliases takes longer than all the
	 * rest of a handoff. */
	if (modules->list && !kmod_list_next(modules->list, modules->list))
		return kmod_module_get_module(modules->list);
	kmod_list_foreach(entry, modules->list) {
		_cleanup_kmod_ struct kmod_module *module = kmod_module_get_module(entry);
		_cleanup_names_ struct names aliases = aliases_of(module);
		size_t n = driver_alias_wildcards(&aliases, alias);

		if (n < fewest) {
			fewest = n;
			kmod_module_unref(best);
			best = kmod_module_ref(module);
		}
	}
	return best;
}

static char *load_variant(const struct device *dev, struct kmod_module *module,
			  struct error *e)
{
	const char *name = kmod_module_get_name(module);
	_cleanup_names_ struct names drivers = {0};
	int err = load(module);

	add_drivers(&drivers, module, dev->bus);
	if (drivers.n)
		return copy(drivers.name[0]);
	if (err == WOULD_LOAD)
		return copy(name);
	if (err == 0)
		error_set(e, STATUS_USAGE, "its VFIO driver's module %s has no driver",
			  name);
	else
		error_set(e, STATUS_USAGE,
			  "its VFIO driver's module %s cannot be loaded: %s", name,
			  strerror(-err));
	error_hint(e, "to use another one, name it, as vfio-pci");
	return NULL;
}

char *driver_load_vfio(const struct device *dev, struct error *e)
{
	_cleanup_free_ char *plain = format("vfio-%s", dev->bus);
	_cleanup_free_ char *modalias = sysfs_read(dev->path, "modalias");
	_cleanup_free_ char *alias = format("vfio_%s", modalias ? modalias : "");
	_cleanup_modules_ struct modules modules = modules_to_load(alias);
	_cleanup_kmod_ struct kmod_module *best = best_variant(&modules, alias);

	if (best && !streq(kmod_module_get_name(best), "vfio_pci"))
		return load_variant(dev, best, e);
	return driver_load(dev->bus, plain, e);
}

bool driver_knows(const struct device *dev, const char *driver)
{
	_cleanup_names_ struct names fitting = drivers_for(dev);
	_cleanup_free_ char *modalias = sysfs_read(dev->path, "modalias");
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers/%s", dev->bus, driver);
	_cleanup_free_ char *module = sysfs_link(dir, "module");
	_cleanup_modules_ struct modules own = {0};
	struct kmod_list *entry;
	bool names_hardware = false;

	if (!modalias || names_have(&fitting, driver))
		return true;
	/* In a dry run the driver may not be loaded, and has no module link: its module
	 * is looked up by the driver's name. */
	own = modules_for(module ? module : driver);
	kmod_list_foreach(entry, own.list) {
		_cleanup_kmod_ struct kmod_module *one = kmod_module_get_module(entry);
		_cleanup_names_ struct names aliases = aliases_of(one);

		for (size_t i = 0; i < aliases.n; i++)
			names_hardware |= strncmp(aliases.name[i], modalias,
						  strcspn(modalias, ":") + 1) == 0;
	}
	return !names_hardware;
}

bool driver_is_vfio(const char *driver)
{
	/* Variant drivers all carry the word: mlx5_vfio_pci, nvgrace-gpu-vfio-pci... */
	return driver && strstr(driver, "vfio");
}

bool driver_is_harmless(const char *driver)
{
	return !driver || driver_is_vfio(driver) || streq(driver, "pci-stub") ||
	       streq(driver, "pcieport");
}

bool driver_has_bind(const char *bus, const char *driver)
{
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers/%s", bus, driver);

	return sysfs_has(dir, "bind") && sysfs_has(dir, "unbind");
}

bool driver_is_built_in(const char *bus, const char *driver)
{
	/* Some that are built in have a folder in /sys/module, too, for their parameters,
	 * but no initstate (kernel/params.c). */
	_cleanup_free_ char *dir = format("/sys/bus/%s/drivers", bus);
	_cleanup_free_ char *state = format("%s/module/initstate", driver);

	return sysfs_has(dir, driver) && !sysfs_has(dir, state);
}

/* How many devices the drivers of the module have. */
static size_t devices_of_module(const char *module)
{
	_cleanup_free_ char *dir = format("%s/drivers", module);
	_cleanup_names_ struct names drivers = sysfs_names(dir, "");
	size_t n = 0;

	for (size_t i = 0; i < drivers.n; i++) {
		_cleanup_free_ char *driver = format("%s/%s", dir, drivers.name[i]);
		_cleanup_names_ struct names entries = sysfs_names(driver, "");

		for (size_t j = 0; j < entries.n; j++) {
			_cleanup_free_ char *its = format("%s/driver", entries.name[j]);

			n += sysfs_has(driver, its);
		}
	}
	return n;
}

char *driver_module_used(const char *driver)
{
	_cleanup_free_ char *name = sysfs_link(driver, "module");
	_cleanup_free_ char *module = format("/sys/module/%s", name ? name : "");
	_cleanup_free_ char *users = name ? sysfs_read(module, "refcnt") : NULL;
	_cleanup_free_ char *dir = format("%s/holders", module);
	_cleanup_names_ struct names holders = {0};

	if (!users)
		return NULL;
	holders = sysfs_names(dir, "");
	if (strtol(users, NULL, 10) <= (long)holders.n || devices_of_module(module) != 1)
		return NULL;
	return copy(name);
}
