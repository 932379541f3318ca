// SPDX-License-Identifier: LGPL-2.1-or-later
/* What `vfio-bind list` cannot do without: for each device of the platform bus, read the
 * links and the attributes that its default columns show, and print them. No library, no
 * care: the floor that the benchmark measures against. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void print_link(int dir, const char *name)
{
	char target[4096];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);
	char *slash;

	if (n < 0)
		return;
	target[n] = '\0';
	slash = strrchr(target, '/');
	printf(" %s", slash ? slash + 1 : target);
}

static void print_attribute(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY);
	char text[4097];
	ssize_t n;

	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n < 0)
		return;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	printf(" %s", text);
}

int main(void)
{
	DIR *devices = opendir("/sys/bus/platform/devices");
	struct dirent *device;

	if (!devices)
		return 1;
	while ((device = readdir(devices))) {
		int dir;

		if (device->d_name[0] == '.')
			continue;
		dir = openat(dirfd(devices), device->d_name, O_PATH | O_DIRECTORY);
		if (dir < 0)
			continue;
		printf("%s", device->d_name);
		print_link(dir, "driver");
		print_attribute(dir, "driver_override");
		print_link(dir, "iommu_group");
		print_attribute(dir, "of_node/compatible");
		print_attribute(dir, "firmware_node/hid");
		putchar('\n');
		close(dir);
	}
	closedir(devices);
	return fflush(stdout) ? 1 : 0;
}
