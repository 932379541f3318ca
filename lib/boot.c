/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "boot.h"
#include "driver.h"
#include "name.h"
#include "record.h"
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>

#define RULES "/etc/udev/rules.d/10-vfio-bind.rules"

/* dracut takes no file of that folder by itself: it must be told of it. */
#define DRACUT_FOLDER "/etc/dracut.conf.d"
#define DRACUT_FILE DRACUT_FOLDER "/10-vfio-bind.conf"

/* What means nothing else to udev, in a pattern or a value (udev(7)). */
#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_,.@+-"

/* --- the pins -------------------------------------------------------------------- */

static void pin_clear(struct boot_pin *pin)
{
	free(pin->device);
	free(pin->driver);
	free(pin->identity);
	free(pin->module);
}

void boot_pins_clear(struct boot_pins *pins)
{
	for (size_t i = 0; i < pins->n; i++)
		pin_clear(&pins->pin[i]);
	free(pins->pin);
	*pins = (struct boot_pins){0};
}

/* Add @pin, which is taken. */
static void append_pin(struct boot_pins *pins, struct boot_pin pin)
{
	pins->pin = with_room(pins->pin, pins->n, sizeof(*pins->pin));
	pins->pin[pins->n++] = pin;
}

static struct boot_pin pin_copy(const struct boot_pin *pin)
{
	return (struct boot_pin){copy(pin->device), copy(pin->driver),
				 copy(pin->identity), copy(pin->module)};
}

static size_t find(const struct boot_pins *pins, const char *device)
{
	size_t i = 0;

	while (i < pins->n && !streq(pins->pin[i].device, device))
		i++;
	return i;
}

const struct boot_pin *boot_find(const struct boot_pins *pins, const struct device *dev)
{
	_cleanup_free_ char *device = device_text(dev);
	size_t i = find(pins, device);

	return i < pins->n ? &pins->pin[i] : NULL;
}

bool boot_fits(const struct boot_pin *pin, const char *modalias)
{
	return streq(pin->identity, "*") ||
	       (modalias && fnmatch(pin->identity, modalias, 0) == 0);
}

bool boot_find_name(const struct boot_pins *pins, const char *name, struct device *dev)
{
	for (size_t i = 0; i < pins->n; i++) {
		if (name_means(name, pins->pin[i].device)) {
			*dev = device_called(pins->pin[i].device);
			return true;
		}
	}
	return false;
}

/* What tells the device from another one in its place, as a pattern of its modalias. Of a
 * PCI device, vendor, device and subsystem, but not its class. A '*' stands for what udev
 * would read as something else, or gives as something else ($attr replaces it by '_'). */
static char *identity_of(const struct device *dev)
{
	char *identity = sysfs_read(dev->path, "modalias");
	char *rest =
		identity && starts_with(identity, "pci:") ? strstr(identity, "bc") : NULL;

	if (!identity || !*identity) {
		free(identity);
		return copy("*");
	}
	if (rest)
		strcpy(rest, "*");
	for (char *c = identity; *c; c++) {
		if (!strchr(PLAIN, *c))
			*c = '*';
	}
	return identity;
}

/* The module of the driver; of one that is not there yet, in a dry run, the one of that
 * name. NULL: it needs none. */
static char *module_of(const char *bus, const char *driver)
{
	_cleanup_free_ char *drivers = format("/sys/bus/%s/drivers", bus);
	_cleanup_free_ char *dir = format("%s/%s", drivers, driver);
	char *module;

	if (streq(driver, DRIVER_NONE))
		return NULL;
	module = sysfs_link(dir, "module");
	return module || sysfs_has(drivers, driver) ? module : driver_folded(driver);
}

static struct boot_pin pin_of(const struct device *dev, const char *driver)
{
	return (struct boot_pin){device_text(dev), copy(driver), identity_of(dev),
				 module_of(dev->bus, driver)};
}

/* --- the file as text ------------------------------------------------------------ */

static char *pin_line(const struct boot_pin *pin)
{
	return format("# pin %s %s %s%s%s\n", pin->device, pin->driver, pin->identity,
		      pin->module ? " " : "", pin->module ? pin->module : "");
}

/* The part of a rule that compares @key with the pin's identity; empty if that is of any
 * device. A new string. */
static char *identity_match(const char *key, const struct boot_pin *pin)
{
	return streq(pin->identity, "*") ? copy("")
					 : format("%s==\"%s\", ", key, pin->identity);
}

/* The bus has its event before its devices have theirs ('udevadm trigger'), so before any
 * of these loads a module: a device's own rule comes too late when the event of a sister
 * has loaded the driver. The device's own event is that of a hotplug. Only an unset flag
 * is written: another one is somebody's, as a handoff's, and an event can be triggered at
 * any time. In one line all is compared before anything is assigned. */
static void add_rules(char **text, const struct boot_pin *pin)
{
	const char *device = pin->device, *name = strchr(device, '/') + 1;
	_cleanup_free_ char *bus = format("%.*s", (int)(name - 1 - device), device);
	_cleanup_free_ char *id = identity_match("ENV{.vfio_bind_id}", pin);
	_cleanup_free_ char *modalias = identity_match("ATTR{modalias}", pin);
	_cleanup_free_ char *load =
		pin->module ? format(", RUN{builtin}+=\"kmod load %s\"", pin->module)
			    : copy("");

	append(text, "",
	       "SUBSYSTEM==\"bus|subsystem\", KERNEL==\"%s\", "
	       "ENV{.vfio_bind_id}=\"$attr{[%s]modalias}\", "
	       "ENV{.vfio_bind_flag}=\"$attr{[%s]driver_override}\"\n",
	       bus, device, device);
	append(text, "",
	       "SUBSYSTEM==\"bus|subsystem\", KERNEL==\"%s\", "
	       "%sENV{.vfio_bind_flag}==\"?null?|\", ATTR{[%s]driver_override}=\"%s\"\n",
	       bus, id, device, pin->driver);
	append(text, "",
	       "SUBSYSTEM==\"%s\", KERNEL==\"%s\", "
	       "%sATTR{driver_override}==\"(null)|%s|\", "
	       "ATTR{driver_override}=\"%s\"%s\n",
	       bus, name, modalias, pin->driver, pin->driver, load);
}

/* The whole file; NULL: without pins there is none. No line may be the same as the one
 * before it: announce() tells of each as a step, and of a step that comes twice in a row
 * the user hears once (hear_step() in worker.c). */
static char *text_of(const struct boot_pins *pins)
{
	char *text = NULL;

	if (!pins->n)
		return NULL;
	append(&text, "",
	       "# Devices that are pinned at boot: change it by 'vfio-bind pin --boot' "
	       "and\n"
	       "# 'vfio-bind release --boot', and then renew the initramfs, which has a "
	       "copy.\n"
	       "# To boot without these pins: vfio_bind.pins=off on the kernel's command "
	       "line.\n");
	for (size_t i = 0; i < pins->n; i++) {
		_cleanup_free_ char *line = pin_line(&pins->pin[i]);

		append(&text, "", "%s", line);
	}
	append(&text, "",
	       "ACTION!=\"add\", GOTO=\"vfio_bind_end\"\n"
	       "IMPORT{cmdline}=\"vfio_bind.pins\"\n"
	       "ENV{vfio_bind.pins}==\"off\", GOTO=\"vfio_bind_end\"\n");
	for (size_t i = 0; i < pins->n; i++)
		add_rules(&text, &pins->pin[i]);
	append(&text, "", "LABEL=\"vfio_bind_end\"\n");
	return text;
}

static bool is_plain(const char *word)
{
	return *word && strspn(word, PLAIN) == strlen(word);
}

static void parse_line(struct boot_pins *pins, char *line)
{
	static const char begin[] = "# pin ";
	char *word[4] = {0}, *rest = line + strlen(begin);

	if (!starts_with(line, begin) || unprintable(line)) /* as no name is */
		return;
	for (size_t i = 0; i < ARRAY_SIZE(word) && rest; i++)
		word[i] = strsep(&rest, " ");
	if (word[2] && strchr(word[0], '/'))
		append_pin(pins, (struct boot_pin){copy(word[0]), copy(word[1]),
						   copy(word[2]), copy(word[3])});
}

int boot_read(struct boot_pins *pins, struct error *e)
{
	_cleanup_free_ char *text = sysfs_read_file(RULES), *lines = copy(text);
	_cleanup_free_ char *ours = NULL;

	*pins = (struct boot_pins){0};
	if (!text && errno == ENOENT)
		return 0;
	if (!text) {
		error_set(e, STATUS_FAILED, "cannot read " RULES ": %s", strerror(errno));
		IGNORE(sysfs_check_read(e)); /* the same, if it was noted */
		return -1;
	}
	for (char *rest = lines, *line; (line = strsep(&rest, "\n")) != NULL;)
		parse_line(pins, line);
	ours = text_of(pins);
	if (streq(text, ours))
		return 0;
	boot_pins_clear(pins);
	error_set(e, STATUS_FAILED, RULES " is not as vfio-bind writes it");
	return error_hint(e, "move what is yours to a file of another name, remove this "
			     "one, and pin again");
}

/* --- the files ------------------------------------------------------------------- */

/* Tell that @path becomes @text, or goes (NULL), as lines for a root shell. */
static void announce(const char *path, const char *text)
{
	_cleanup_free_ char *lines = text ? format("cat > %s << 'END'\n%sEND", path, text)
					  : format("rm %s", path);

	for (char *rest = lines, *line; (line = strsep(&rest, "\n")) != NULL;) {
		sysfs_step_begins(line);
		sysfs_step_ended();
	}
}

static int sync_folder_of(const char *path)
{
	_cleanup_free_ char *copied = copy(path);
	_cleanup_close_ int dir =
		open(dirname(copied), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 ? -1 : fsync(dir);
}

/* Returns 0, or -1 with errno. */
static int write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd =
		open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		return -1;
	return write_whole(fd, text) == 0 && fchmod(fd, 0644) == 0 ? fsync(fd) : -1;
}

/* Let the file be @text, or none (NULL): whole or not at all, and on disk. udev and the
 * tools of the initramfs pass over the temporary name. *@tried is set before the first
 * change. Returns 0 or -1 with @e. */
static int put(const char *path, const char *text, bool *tried, struct error *e)
{
	_cleanup_free_ char *temporary = format("%s.new", path);
	_cleanup_free_ char *present = sysfs_read_file(path);
	int err;

	if (!present && errno != ENOENT)
		return error_set(e, STATUS_FAILED, "cannot read %s: %s", path,
				 strerror(errno));
	if (!sysfs_is_dry_run())
		unlink(temporary); /* left by one that was killed, or failed */
	if (streq(present, text))
		return 0;
	announce(path, text);
	if (sysfs_is_dry_run())
		return 0;
	*tried = true;
	err = text ? write_file(temporary, text) : unlink(path);
	if (err == 0 && text)
		err = rename(temporary, path);
	if (err == 0 && sync_folder_of(path) == 0)
		return 0;
	error_set(e, STATUS_FAILED, "cannot %s %s: %s", text ? "write" : "remove", path,
		  strerror(errno));
	return -1;
}

/* Is a program of that name installed? */
static bool is_installed(const char *program)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *folders =
		format("%s:/usr/sbin:/usr/bin:/sbin:/bin", path ? path : "");

	for (char *rest = folders, *folder; (folder = strsep(&rest, ":")) != NULL;) {
		_cleanup_free_ char *file = format("%s/%s", folder, program);

		if (access(file, X_OK) == 0)
			return true;
		if (errno != EACCES) /* a file, but no program */
			sysfs_note_unread(file);
	}
	return false;
}

/* dracut is told of the rules before they are there, and until after they are gone. */
static int put_all(const struct boot_pins *pins, bool *tried, struct error *e)
{
	_cleanup_free_ char *rules = text_of(pins);
	bool dracut = is_installed("dracut") && sysfs_has(DRACUT_FOLDER, "");

	if (sysfs_check_read(e) < 0)
		return -1;
	if (rules && dracut &&
	    put(DRACUT_FILE, "install_items+=\" " RULES " \"\n", tried, e) < 0)
		return -1;
	if (put(RULES, rules, tried, e) < 0)
		return -1;
	return rules ? 0 : put(DRACUT_FILE, NULL, tried, e);
}

/* Let the files tell of @after, or else of @before, as they did. Returns 0 or -1 with @e,
 * which is STATUS_BROKEN if they tell of neither. */
static int change(const struct boot_pins *before, const struct boot_pins *after,
		  struct error *e)
{
	struct error failed;
	bool tried = false;

	if (put_all(after, &tried, e) == 0)
		return 0;
	IGNORE(sysfs_check_read(&failed)); /* @e has it */
	if (!tried || put_all(before, &tried, &failed) == 0)
		return -1;
	e->status = STATUS_BROKEN;
	return error_end(e, "; nor can it be put back: %s", failed.text);
}

/* --- what is asked --------------------------------------------------------------- */

int boot_check(const struct device *dev, const char *driver, struct error *e)
{
	_cleanup_pins_ struct boot_pins pins = {0};
	_cleanup_free_ char *wanted = NULL, *line = NULL;
	const struct boot_pin *pin;
	struct boot_pin new;

	if (!is_plain(dev->bus) || !is_plain(dev->name) || !is_plain(driver))
		return error_set(e, STATUS_REFUSED,
				 "no udev rule can name it: %s/%s, for %s", dev->bus,
				 dev->name, driver);
	if (boot_read(&pins, e) < 0)
		return -1;
	pin = boot_find(&pins, dev);
	if (!pin)
		return 0;
	new = pin_of(dev, driver);
	wanted = pin_line(&new);
	line = pin_line(pin);
	pin_clear(&new);
	return streq(wanted, line);
}

int boot_add(const struct device *dev, const char *driver, int64_t deadline,
	     struct error *e)
{
	_cleanup_pins_ struct boot_pins before = {0}, after = {0};
	struct boot_pin pin = pin_of(dev, driver);
	_cleanup_close_ int lock = -1;
	size_t at;

	if (sysfs_check_read(e) < 0 || record_lock_boot(deadline, -1, &lock, e) < 0 ||
	    boot_read(&before, e) < 0) {
		pin_clear(&pin);
		return -1;
	}
	at = find(&before, pin.device);
	for (size_t i = 0; i < before.n; i++)
		append_pin(&after, i == at ? pin : pin_copy(&before.pin[i]));
	if (at == before.n)
		append_pin(&after, pin);
	return change(&before, &after, e);
}

int boot_remove(const struct devices *devices, int64_t deadline, int stop,
		struct error *e)
{
	_cleanup_pins_ struct boot_pins before = {0}, after = {0};
	_cleanup_names_ struct names gone = {0};
	_cleanup_close_ int lock = -1;

	for (size_t i = 0; i < devices->n; i++) {
		_cleanup_free_ char *device = device_text(&devices->dev[i]);

		names_add(&gone, device);
	}
	if (record_lock_boot(deadline, stop, &lock, e) < 0 || boot_read(&before, e) < 0)
		return -1;
	for (size_t i = 0; i < before.n; i++) {
		if (!names_have(&gone, before.pin[i].device))
			append_pin(&after, pin_copy(&before.pin[i]));
	}
	return change(&before, &after, e);
}

char *boot_hint(void)
{
	static const struct {
		const char *program, *command;
	} tools[] = {{"update-initramfs", "update-initramfs -u"},
		     {"dracut", "dracut -f"},
		     {"mkinitcpio", "mkinitcpio -P"}};
	char *commands = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(tools); i++) {
		if (is_installed(tools[i].program))
			append(&commands, " or ", "%s", tools[i].command);
	}
	if (!commands)
		return copy("renew the initramfs, if there is one: it has to have " RULES
			    " as it is now");
	append(&commands, "", ", as the initramfs has a copy of " RULES);
	return commands;
}
