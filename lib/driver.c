/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "driver.h"
#include "sysfs.h"

#include <errno.h>
#include <libkmod.h>
#include <limits.h>
#include <stddef.h>

static void cleanup_kmod(struct kmod_ctx **ctx)
{
	kmod_unref(*ctx);
}

static void cleanup_module_list(struct kmod_list **list)
{
	kmod_module_unref_list(*list);
}

#define _cleanup_kmod_ __attribute__((cleanup(cleanup_kmod)))
#define _cleanup_module_list_ __attribute__((cleanup(cleanup_module_list)))

static void stay_silent(void *data, int priority, const char *file, int line,
			const char *fn, const char *fmt, va_list args)
{
	(void)data, (void)priority, (void)file, (void)line, (void)fn, (void)fmt,
		(void)args;
}

static struct kmod_ctx *kmod_open(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);

	if (ctx)
		kmod_set_log_fn(ctx, stay_silent, NULL);
	return ctx;
}

/* The modules that @alias, a module's name or a modalias, stands for. */
static struct kmod_list *lookup(struct kmod_ctx *ctx, const char *alias)
{
	struct kmod_list *list = NULL;

	if (ctx && kmod_module_new_from_lookup(ctx, alias, &list) < 0)
		return NULL;
	return list;
}

static bool is_loaded(struct kmod_module *module)
{
	int state = kmod_module_get_initstate(module);

	return state == KMOD_MODULE_LIVE || state == KMOD_MODULE_BUILTIN;
}

/* Returns 0, or the error of the first module that could not be loaded. */
static int load(struct kmod_list *list)
{
	struct kmod_list *entry;
	int err = 0;

	kmod_list_foreach(entry, list) {
		struct kmod_module *module = kmod_module_get_module(entry);
		_cleanup_free_ char *line =
			format("modprobe %s", kmod_module_get_name(module));

		if (!is_loaded(module) && sysfs_announce(line)) {
			int r = kmod_module_probe_insert_module(
				module, KMOD_PROBE_APPLY_BLACKLIST_ALIAS_ONLY, NULL, NULL,
				NULL, NULL);

			if (r < 0 && !err)
				err = r;
		}
		kmod_module_unref(module);
	}
	return err;
}

/* @name with its separators folded, as module names are compared. */
static char *folded(const char *name)
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
	_cleanup_free_ char *wanted = folded(name);
	char *found = NULL;

	for (size_t i = 0; i < drivers.n; i++) {
		_cleanup_free_ char *driver = folded(drivers.name[i]);

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
	_cleanup_module_list_ struct kmod_list *list = NULL;
	_cleanup_kmod_ struct kmod_ctx *ctx = NULL;
	char *driver = driver_registered(bus, name);
	int err;

	if (driver)
		return driver;
	if (*name && strlen(name) <= NAME_MAX && !strpbrk(name, "/\n"))
		list = lookup(ctx = kmod_open(), name);
	err = load(list);
	driver = driver_registered(bus, name);
	if (!driver && list && sysfs_is_dry_run())
		return copy(name);
	if (driver)
		return driver;
	if (err)
		error_set(e, STATUS_USAGE,
			  "no driver %.64s on the %s bus: its module cannot be loaded: "
			  "%s",
			  name, bus, strerror(-err));
	else
		error_set(e, STATUS_USAGE, "no driver %.64s on the %s bus%s",
			  *name ? name : "''", bus,
			  list ? ", even with the module of that name loaded" : "");
	if (!list)
		error_hint(e, "no module has that name either; if the driver's module is "
			      "named differently, load it first");
	return NULL;
}

void driver_load_for(const struct device *dev)
{
	_cleanup_free_ char *modalias = sysfs_read(dev->path, "modalias");
	_cleanup_kmod_ struct kmod_ctx *ctx = modalias && *modalias ? kmod_open() : NULL;
	_cleanup_module_list_ struct kmod_list *list = ctx ? lookup(ctx, modalias) : NULL;

	load(list);
}

struct names driver_candidates(const struct device *dev)
{
	_cleanup_free_ char *modalias = sysfs_read(dev->path, "modalias");
	_cleanup_kmod_ struct kmod_ctx *ctx = modalias && *modalias ? kmod_open() : NULL;
	_cleanup_module_list_ struct kmod_list *list = ctx ? lookup(ctx, modalias) : NULL;
	_cleanup_free_ char *prefix = format("%s:", dev->bus);
	struct names candidates = {0};
	struct kmod_list *entry;

	kmod_list_foreach(entry, list) {
		struct kmod_module *module = kmod_module_get_module(entry);
		_cleanup_free_ char *dir =
			format("/sys/module/%s/drivers", kmod_module_get_name(module));
		_cleanup_names_ struct names drivers = sysfs_names(dir, prefix);

		for (size_t i = 0; i < drivers.n; i++)
			names_add(&candidates, drivers.name[i] + strlen(prefix));
		kmod_module_unref(module);
	}
	return candidates;
}

const char *driver_vfio(const struct device *dev)
{
	static const char *const drivers[][2] = {
		{"platform", "vfio-platform"}, {"amba", "vfio-amba"}, {"pci", "vfio-pci"},
		{"fsl-mc", "vfio-fsl-mc"},     {"cdx", "vfio-cdx"},
	};

	for (size_t i = 0; i < sizeof(drivers) / sizeof(*drivers); i++) {
		if (streq(drivers[i][0], dev->bus))
			return drivers[i][1];
	}
	return NULL;
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
