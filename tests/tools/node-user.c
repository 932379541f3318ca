// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * node-user WAY NODE FILE: has NODE open, makes FILE when it has, and stays until a
 * signal ends it. WAY is
 *
 *   open     just open
 *   polite   open, and closed when a poll says that the device is gone
 *   mapped   not open any more, but mapped
 *   thread   open in a thread; the main thread has ended
 *   threadmap  mapped by a thread alone, and not open any more
 *   threadnet  as thread, which has a network namespace of its own
 *   path     opened as a path only (O_PATH), as anybody can
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *ready;

static void die(const char *what)
{
	fprintf(stderr, "node-user: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void is_ready(void)
{
	int fd = open(ready, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		die(ready);
	close(fd);
}

static void *stay(void *unused)
{
	is_ready();
	for (;;)
		pause();
	return unused;
}

static void *stay_apart(void *unused)
{
	if (unshare(CLONE_NEWNET) < 0)
		die("unshare");
	return stay(unused);
}

/* A shared mapping of /dev/zero is not of it any more. */
static void map(int fd, const char *kind)
{
	int flags = strcmp(kind, "threadmap") ? MAP_SHARED : MAP_PRIVATE;

	if (mmap(NULL, 4096, PROT_READ, flags, fd, 0) == MAP_FAILED)
		die("mmap");
	close(fd);
}

static void wait_for_the_end(int fd)
{
	struct pollfd pollfd = {.fd = fd};

	is_ready();
	/* In turns: the kernel does not wake everybody when the device goes. */
	while (!(pollfd.revents & (POLLERR | POLLHUP | POLLNVAL)))
		poll(&pollfd, 1, 100);
	close(fd);
	exit(0);
}

static void leave_it_to_a_thread(const char *way)
{
	void *(*end)(void *) = strcmp(way, "threadnet") ? stay : stay_apart;
	pthread_t thread;

	if (pthread_create(&thread, NULL, end, NULL) != 0)
		die("pthread_create");
	pthread_exit(NULL);
}

int main(int argc, char **argv)
{
	const char *way = argc == 4 ? argv[1] : "";
	int fd = argc == 4 ? open(argv[2], strcmp(way, "path") ? O_RDWR : O_PATH) : -1;

	if (fd < 0)
		die(argc == 4 ? argv[2] : "usage: node-user WAY NODE FILE");
	ready = argv[3];
	if (strcmp(way, "polite") == 0)
		wait_for_the_end(fd);
	if (strstr(way, "map"))
		map(fd, way);
	if (strncmp(way, "thread", strlen("thread")) == 0)
		leave_it_to_a_thread(way);
	stay(NULL);
}
