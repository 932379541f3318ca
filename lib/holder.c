/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "holder.h"
#include "sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

/* A stub: the real one is to come. */
struct open_files {
	struct net_namespace *ns;
	size_t n;
};

static void add_namespace(struct open_files *open, pid_t pid, ino_t inode)
{
	for (size_t i = 0; i < open->n; i++) {
		if (open->ns[i].inode == inode)
			return;
	}
	open->ns = reallocarray(open->ns, open->n + 1, sizeof(*open->ns));
	open->ns[open->n++] = (struct net_namespace){inode, pid};
}

struct open_files *open_files_scan(void)
{
	struct open_files *open = calloc(1, sizeof(*open));
	_cleanup_names_ struct names pids = sysfs_names("/proc", "");

	for (size_t i = 0; i < pids.n; i++) {
		_cleanup_free_ char *path = format("/proc/%s/ns/net", pids.name[i]);
		struct stat st;

		if (!isdigit((unsigned char)*pids.name[i]))
			continue;
		if (stat(path, &st) == 0)
			add_namespace(open, atoi(pids.name[i]), st.st_ino);
		else if (errno != ENOENT && errno != ESRCH)
			add_namespace(open, atoi(pids.name[i]), 0);
	}
	return open;
}

void open_files_free(struct open_files **open)
{
	if (*open)
		free((*open)->ns);
	free(*open);
}

void open_files_holders(const struct open_files *open, enum file_kind kind,
			uint64_t number, struct names *holders)
{
	_cleanup_names_ struct names pids = sysfs_names("/proc", "");
	_cleanup_free_ char *wanted = format("socket:[%ju]", (uintmax_t)number);

	(void)open;
	for (size_t i = 0; i < pids.n && kind == FILE_SOCKET; i++) {
		_cleanup_free_ char *dir = format("/proc/%s/fd", pids.name[i]);
		_cleanup_free_ char *process = format("/proc/%s", pids.name[i]);
		_cleanup_names_ struct names fds = {0};

		if (!isdigit((unsigned char)*pids.name[i]))
			continue;
		fds = sysfs_names(dir, "");
		for (size_t j = 0; j < fds.n; j++) {
			_cleanup_free_ char *path = format("%s/%s", dir, fds.name[j]);
			_cleanup_free_ char *comm = sysfs_read(process, "comm");
			_cleanup_free_ char *holder =
				format("%s (pid %s)", comm, pids.name[i]);
			char target[64] = "";

			if (readlink(path, target, sizeof(target) - 1) > 0 &&
			    streq(target, wanted))
				names_add(holders, holder);
		}
	}
}

const struct net_namespace *open_files_net(const struct open_files *open, size_t *n)
{
	*n = open->n;
	return open->ns;
}
