// SPDX-License-Identifier: GPL-2.0
/*
 * Platform devices in any number, and drivers for them that misbehave.
 *
 * Parameters, all below /sys/module/vbtest/parameters:
 *
 *   devices=N   at load time: make vbtest.0 .. vbtest.N-1
 *   add         write NAME: register a device of that name
 *   remove      write NAME: unregister it
 *   link        write "CONSUMER SUPPLIER": unbinding the supplier's driver
 *               will unbind the consumer's
 *   compatible  the "compatible" that devices made from now on carry
 *
 * Drivers:
 *
 *   vbtest-host    takes every device whose name starts with vbtest
 *   vbtest-nobind  takes every device whose name starts with vbnobind, and
 *                  has no bind and unbind files
 *   vbtest-target  takes nothing by itself, like a VFIO driver
 *
 * How they behave, for each of host, target and nobind in place of host:
 *
 *   host_probe_defer  so many probes return EPROBE_DEFER first
 *   host_probe_errno  probe fails with this errno
 *   host_probe_ms     probe takes so long, or until this is set to 0
 *   host_remove_ms    remove takes so long, or until this is set to 0
 *   host_probes       how many probes there were
 *   host_removes      how many removes there were
 */
#include <linux/delay.h>
#include <linux/device/bus.h>
#include <linux/jiffies.h>
#include <linux/list.h>
#include <linux/mod_devicetable.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/property.h>
#include <linux/slab.h>
#include <linux/string.h>

struct behaviour {
	struct platform_driver driver;
	int probe_defer;
	int probe_errno;
	int probe_ms;
	int remove_ms;
	int probes;
	int removes;
};

struct test_device {
	struct list_head list;
	struct platform_device *pdev;
};

static LIST_HEAD(test_devices);
/* Guards the list above and the counters of the drivers. */
static DEFINE_MUTEX(lock);

static char compatible[64] = "vfio-bind,vbtest";
module_param_string(compatible, compatible, sizeof(compatible), 0644);

static uint devices;
module_param(devices, uint, 0444);

/* The drivers */

static struct behaviour *behaviour_of(struct platform_device *pdev)
{
	return container_of(to_platform_driver(pdev->dev.driver), struct behaviour,
			    driver);
}

static void take_time(const int *ms)
{
	unsigned long end = jiffies + msecs_to_jiffies(READ_ONCE(*ms));

	while (READ_ONCE(*ms) && time_before(jiffies, end))
		msleep(20);
}

static int test_probe(struct platform_device *pdev)
{
	struct behaviour *b = behaviour_of(pdev);
	bool defer;

	mutex_lock(&lock);
	b->probes++;
	defer = b->probe_defer > 0;
	if (defer)
		b->probe_defer--;
	mutex_unlock(&lock);

	take_time(&b->probe_ms);
	return defer ? -EPROBE_DEFER : -abs(b->probe_errno);
}

static void test_remove(struct platform_device *pdev)
{
	struct behaviour *b = behaviour_of(pdev);

	mutex_lock(&lock);
	b->removes++;
	mutex_unlock(&lock);
	take_time(&b->remove_ms);
}

static const struct platform_device_id host_ids[] = {{"vbtest"}, {}};
static const struct platform_device_id nobind_ids[] = {{"vbnobind"}, {}};
MODULE_DEVICE_TABLE(platform, host_ids);
MODULE_DEVICE_TABLE(platform, nobind_ids);

static struct behaviour host = {
	.driver =
		{
			.driver.name = "vbtest-host",
			.id_table = host_ids,
			.probe = test_probe,
			.remove = test_remove,
		},
};

static struct behaviour target = {
	.driver =
		{
			.driver.name = "vbtest-target",
			.probe = test_probe,
			.remove = test_remove,
			.driver_managed_dma = true,
		},
};

static struct behaviour nobind = {
	.driver =
		{
			.driver.name = "vbtest-nobind",
			.driver.suppress_bind_attrs = true,
			.id_table = nobind_ids,
			.probe = test_probe,
			.remove = test_remove,
		},
};

static struct platform_driver *const drivers[] = {&host.driver, &target.driver,
						  &nobind.driver};

#define BEHAVIOUR(who)                                                                   \
	module_param_named(who##_probe_defer, who.probe_defer, int, 0644);               \
	module_param_named(who##_probe_errno, who.probe_errno, int, 0644);               \
	module_param_named(who##_probe_ms, who.probe_ms, int, 0644);                     \
	module_param_named(who##_remove_ms, who.remove_ms, int, 0644);                   \
	module_param_named(who##_probes, who.probes, int, 0444);                         \
	module_param_named(who##_removes, who.removes, int, 0444)

BEHAVIOUR(host);
BEHAVIOUR(target);
BEHAVIOUR(nobind);

/* The devices */

/* What a device is matched by: the part of its name that the drivers know. */
static const char *match_name(const char *name)
{
	if (strstarts(name, "vbtest"))
		return "vbtest";
	if (strstarts(name, "vbnobind"))
		return "vbnobind";
	return name;
}

static int add_device(const char *name)
{
	const struct property_entry properties[] = {PROPERTY_ENTRY_STRING("compatible",
									  compatible),
						    {}};
	struct platform_device *pdev;
	struct test_device *new;
	int err;

	new = kzalloc(sizeof(*new), GFP_KERNEL);
	pdev = platform_device_alloc(match_name(name), PLATFORM_DEVID_NONE);
	err = new &&pdev ? 0 : -ENOMEM;
	if (!err)
		err = device_create_managed_software_node(&pdev->dev, properties, NULL);
	if (!err) {
		/*
		 * Not platform_device_add(): it would name the device after
		 * what it is matched by.
		 */
		pdev->dev.parent = &platform_bus;
		pdev->dev.bus = &platform_bus_type;
		err = dev_set_name(&pdev->dev, "%s", name);
	}
	if (!err)
		err = device_add(&pdev->dev);
	if (err) {
		platform_device_put(pdev);
		kfree(new);
		return err;
	}

	new->pdev = pdev;
	mutex_lock(&lock);
	list_add(&new->list, &test_devices);
	mutex_unlock(&lock);
	return 0;
}

/* With the lock held. */
static struct test_device *find_device(const char *name)
{
	struct test_device *d;

	list_for_each_entry(d, &test_devices, list)
		if (!strcmp(dev_name(&d->pdev->dev), name))
			return d;
	return NULL;
}

static int remove_device(const char *name)
{
	struct test_device *d;

	mutex_lock(&lock);
	d = name ? find_device(name)
		 : list_first_entry_or_null(&test_devices, struct test_device, list);
	if (d)
		list_del(&d->list);
	mutex_unlock(&lock);
	if (!d)
		return -ENODEV;

	device_del(&d->pdev->dev);
	platform_device_put(d->pdev);
	kfree(d);
	return 0;
}

static int link_devices(char *names)
{
	const char *name = strsep(&names, " ");
	struct test_device *consumer, *supplier;
	int err = -ENODEV;

	mutex_lock(&lock);
	consumer = find_device(name);
	supplier = names ? find_device(names) : NULL;
	if (consumer && supplier)
		err = device_link_add(&consumer->pdev->dev, &supplier->pdev->dev, 0)
			      ? 0
			      : -EINVAL;
	mutex_unlock(&lock);
	return err;
}

/* The files that take device names */

static int add_set(char *name)
{
	struct device *twin = bus_find_device_by_name(&platform_bus_type, NULL, name);

	/* The driver core would say so too, but with a stack dump. */
	put_device(twin);
	return twin ? -EEXIST : add_device(name);
}

static int remove_set(char *name)
{
	return remove_device(name);
}

static int names_set(const char *value, const struct kernel_param *kp)
{
	int (*action)(char *) = kp->arg;
	char *names;
	int err;

	if (THIS_MODULE->state != MODULE_STATE_LIVE)
		return -EBUSY;
	names = kstrdup(value, GFP_KERNEL);
	if (!names)
		return -ENOMEM;
	strim(names);

	/* A slow probe or remove must not lock the other parameters. */
	kernel_param_unlock(THIS_MODULE);
	err = *names ? action(names) : -EINVAL;
	kernel_param_lock(THIS_MODULE);
	kfree(names);
	return err;
}

static const struct kernel_param_ops names_ops = {.set = names_set};
module_param_cb(add, &names_ops, add_set, 0200);
module_param_cb(remove, &names_ops, remove_set, 0200);
module_param_cb(link, &names_ops, link_devices, 0200);

static void vbtest_exit(void)
{
	while (!remove_device(NULL))
		;
	platform_unregister_drivers(drivers, ARRAY_SIZE(drivers));
}

static int __init vbtest_init(void)
{
	char name[32];
	uint i;
	int err;

	err = platform_register_drivers(drivers, ARRAY_SIZE(drivers));
	if (err)
		return err;
	for (i = 0; !err && i < devices; i++) {
		snprintf(name, sizeof(name), "vbtest.%u", i);
		err = add_device(name);
	}
	if (err)
		vbtest_exit();
	return err;
}

module_init(vbtest_init);
module_exit(vbtest_exit);
MODULE_DESCRIPTION("Platform devices and misbehaving drivers, to test vfio-bind");
MODULE_LICENSE("GPL");
