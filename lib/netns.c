/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "netns.h"
#include "mount.h"
#include "sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define OWN "/proc/thread-self/ns/net"
#define NAMED "/run/netns"

#define CANNOT_TELL "cannot tell who uses its interfaces"

int netns_cannot_tell(const struct netns *ns, int error, struct error *e)
{
	return error_set(e, STATUS_REFUSED, CANNOT_TELL "%s: %s", ns ? ns->where : "",
			 error == EINTR ? "it changes all the time" : strerror(error));
}

void netns_list_free(struct netns_list *list)
{
	for (size_t i = 0; i < list->n; i++) {
		free(list->ns[i].path);
		free(list->ns[i].where);
	}
	free(list->ns);
	*list = (struct netns_list){0};
}

static bool has(const struct netns_list *list, ino_t inode)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->ns[i].inode == inode)
			return true;
	}
	return false;
}

/* Add a namespace, unless it is there already. */
static void add(struct netns_list *list, ino_t inode, const char *path, const char *where)
{
	if (has(list, inode))
		return;
	list->ns = with_room(list->ns, list->n, sizeof(*list->ns));
	list->ns[list->n++] = (struct netns){inode, copy(path), copy(where)};
}

/* What tells of a namespace may go while it is looked at. */
static bool has_gone(const char *path, int error)
{
	return sysfs_process_ended(AT_FDCWD, path, error);
}

/* Add the namespace that is mounted on, or that a link leads to, @path. */
static int add_mounted(struct netns_list *list, const char *path, const char *name,
		       struct error *e)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ char *where = format(" in network namespace %s", name);
	struct stat st;
	int type;

	if (fd < 0 && has_gone(path, errno))
		return 0;
	type = fd < 0 ? -1 : ioctl(fd, NS_GET_NSTYPE);
	/* A file from before a mount, or a namespace of another kind, is none. */
	if (fd >= 0 && type < 0 && errno == ENOTTY)
		return 0;
	if (type < 0 || fstat(fd, &st) < 0)
		return error_set(e, STATUS_REFUSED, CANNOT_TELL ": %s: %s", path,
				 strerror(errno));
	if (type == CLONE_NEWNET)
		add(list, st.st_ino, path, where);
	return 0;
}

static int add_named(struct netns_list *list, struct error *e)
{
	_cleanup_names_ struct names names = sysfs_names(NAMED, "");
	int r = 0;

	for (size_t i = 0; i < names.n; i++) {
		_cleanup_free_ char *path = format(NAMED "/%s", names.name[i]);

		if (add_mounted(list, path, names.name[i], e) < 0)
			r = -1;
	}
	return r;
}

/* Where the namespace of a process stands, and those of its threads, if it has several:
 * each can be in another one, also when the main thread has ended. Its folder has a link
 * for each thread, beside the two of any folder (proc_task_getattr). */
static struct names paths_of_process(const char *pid)
{
	_cleanup_free_ char *own = format("/proc/%s/ns/net", pid);
	_cleanup_free_ char *dir = format("/proc/%s/task", pid);
	_cleanup_names_ struct names threads = {0};
	struct names paths = {0};
	struct stat st;

	names_add(&paths, own);
	if (stat(dir, &st) < 0)
		sysfs_note_unread(dir);
	else if (st.st_nlink > 3)
		threads = sysfs_names(dir, "");
	for (size_t i = 0; i < threads.n; i++) {
		_cleanup_free_ char *path = format("%s/%s/ns/net", dir, threads.name[i]);

		if (!streq(threads.name[i], pid))
			names_add(&paths, path);
	}
	return paths;
}

/* Add the namespace at @path, that a process, or a thread of it, is in. */
static int add_of_task(struct netns_list *list, const char *path, const char *pid,
		       struct error *e)
{
	_cleanup_free_ char *name = NULL, *where = NULL;
	struct stat st;
	int err = stat(path, &st) < 0 ? errno : 0;

	if ((err && has_gone(path, err)) || (err == 0 && has(list, st.st_ino)))
		return 0;
	name = sysfs_process_name(atoi(pid));
	where = format(" in the network namespace of %s", name ? name : pid);
	if (err)
		return netns_cannot_tell(&(struct netns){.where = where}, err, e);
	add(list, st.st_ino, path, where);
	return 0;
}

static int add_of_process(struct netns_list *list, const char *pid, struct error *e)
{
	_cleanup_names_ struct names paths = paths_of_process(pid);
	int r = 0;

	for (size_t i = 0; i < paths.n; i++) {
		if (add_of_task(list, paths.name[i], pid, e) < 0)
			r = -1;
	}
	return r;
}

static int add_of_processes(struct netns_list *list, struct error *e)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	const struct dirent *entry;
	int r = proc ? 0 : netns_cannot_tell(NULL, errno, e);

	while (proc && (errno = 0, entry = readdir(proc))) {
		if (isdigit((unsigned char)*entry->d_name) &&
		    add_of_process(list, entry->d_name, e) < 0)
			r = -1;
	}
	if (proc && errno)
		r = netns_cannot_tell(NULL, errno, e);
	return r;
}

static bool is_mounted(uint64_t id)
{
	_cleanup_mounts_ struct mounts mounts = {0};
	bool is = mounts_read(&mounts) < 0; /* that cannot be told */

	for (size_t i = 0; i < mounts.n; i++)
		is |= mounts.mount[i].id == id;
	return is;
}

/* The mount, which was not found by its path if another one covers it, shows the number
 * of its namespace: is that known? Or it has gone. Returns 0, or -1 with @e. */
static int check_known(const struct netns_list *list, const struct mount *mount,
		       struct error *e)
{
	uint64_t inode;

	if (sscanf(mount->root, "net:[%" SCNu64, &inode) != 1 ||
	    has(list, (ino_t)inode) || !is_mounted(mount->id))
		return 0;
	return error_set(e, STATUS_REFUSED, CANNOT_TELL ": %s is behind another mount",
			 mount->where);
}

/* Namespaces that are mounted anywhere. */
static int add_mounts(struct netns_list *list, struct error *e)
{
	_cleanup_mounts_ struct mounts mounts = {0};
	int r = mounts_read(&mounts);

	if (r < 0)
		return error_set(e, STATUS_REFUSED, CANNOT_TELL ": " MOUNTS_FILE ": %s",
				 strerror(-r));
	for (size_t i = 0; i < mounts.n; i++) {
		const struct mount *mount = &mounts.mount[i];

		if (streq(mount->type, "nsfs") && starts_with(mount->root, "net:") &&
		    (add_mounted(list, mount->where, mount->where, e) < 0 ||
		     check_known(list, mount, e) < 0))
			r = -1;
	}
	return r;
}

int netns_find(struct netns_list *list, struct error *e)
{
	struct stat st = {0};
	int r = 0;

	/* A kernel without network namespaces has only this one. */
	if (stat(OWN, &st) < 0 && errno != ENOENT)
		r = netns_cannot_tell(NULL, errno, e);
	add(list, st.st_ino, OWN, "");
	if (add_named(list, e) < 0)
		r = -1;
	if (add_of_processes(list, e) < 0)
		r = -1;
	if (add_mounts(list, e) < 0)
		r = -1;
	return r;
}

/* Open @path if it is this namespace. Returns an fd, or -errno; ESRCH: it is not. */
static int open_as(const char *path, ino_t inode)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return has_gone(path, errno) ? -ESRCH : -errno;
	if (fstat(fd, &st) == 0 && st.st_ino == inode)
		return fd;
	close(fd);
	return -ESRCH;
}

/* Open it by a process that is in it. Returns an fd, or -errno as open_as(). */
static int open_by_process(const char *pid, ino_t inode)
{
	_cleanup_names_ struct names paths = paths_of_process(pid);
	int err = -ESRCH;

	for (size_t i = 0; i < paths.n; i++) {
		int fd = open_as(paths.name[i], inode);

		if (fd >= 0)
			return fd;
		if (fd != -ESRCH) /* that one may be in it */
			err = fd;
	}
	return err;
}

int netns_open(const struct netns *ns)
{
	_cleanup_names_ struct names pids = {0};
	int fd = open_as(ns->path, ns->inode), err = -ESRCH;

	if (fd != -ESRCH)
		return fd;
	/* The process has ended, or the name has gone: another process may be in it. */
	pids = sysfs_names("/proc", "");
	for (size_t i = 0; i < pids.n && fd < 0; i++) {
		if (isdigit((unsigned char)*pids.name[i]))
			fd = open_by_process(pids.name[i], ns->inode);
		if (fd < 0 && fd != -ESRCH)
			err = fd;
	}
	return fd < 0 ? err : fd;
}

void netns_view_close(struct netns_view *view)
{
	if (view->netlink)
		mnl_socket_close(view->netlink);
	if (view->packets)
		fclose(view->packets);
	if (view->pppoe)
		fclose(view->pppoe);
	*view = (struct netns_view){0};
}

/* Open a file of the namespace that this process is in; NULL with an errno of ENOENT: the
 * kernel has not got what it tells of. */
static FILE *open_file(const char *name)
{
	_cleanup_free_ char *path = format("/proc/thread-self/net/%s", name);

	return fopen(path, "re");
}

/* Open what is to be asked in the namespace that this process is in. Returns 0 or
 * -errno. */
static int open_view(struct netns_view *view)
{
	/* Without it, none of its files would be no sign. */
	if (access("/proc/thread-self/net", F_OK) < 0)
		return -errno;
	view->packets = open_file("packet");
	if (!view->packets && errno != ENOENT)
		return -errno;
	view->pppoe = open_file("pppoe");
	if (!view->pppoe && errno != ENOENT)
		return -errno;
	view->netlink = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!view->netlink || mnl_socket_bind(view->netlink, 0, MNL_SOCKET_AUTOPID) < 0)
		return -errno;
	return 0;
}

/* Enter the namespace, with *@own to come back by, unless it is the own one. Returns 0,
 * or -errno; ESRCH: it has ended. */
static int enter(const struct netns *ns, int *own)
{
	_cleanup_close_ int fd = -1;
	int err;

	*own = -1;
	if (!*ns->where)
		return 0;
	fd = netns_open(ns);
	if (fd < 0)
		return fd;
	*own = open(OWN, O_RDONLY | O_CLOEXEC);
	if (*own >= 0 && setns(fd, CLONE_NEWNET) == 0)
		return 0;
	err = -errno;
	cleanup_close(own);
	*own = -1;
	return err;
}

/* Come back from the namespace, where @err (0 or -errno) was met. Returns 0, or -1 with
 * @e. */
static int leave(const struct netns *ns, int own, int err, struct error *e)
{
	if (own >= 0 && setns(own, CLONE_NEWNET) < 0)
		return error_set(e, STATUS_REFUSED,
				 "cannot come back to the own network namespace: %s",
				 strerror(errno));
	return err < 0 ? netns_cannot_tell(ns, -err, e) : 0;
}

int netns_look(const struct netns *ns, struct netns_view *view, struct error *e)
{
	_cleanup_close_ int own = -1;
	int err = enter(ns, &own);

	if (err == -ESRCH)
		return 0;
	if (err == 0)
		err = open_view(view);
	return leave(ns, own, err, e);
}

/* BPF_TCX_INGRESS and BPF_TCX_EGRESS of Linux 6.6. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47

/* Has the interface such a program? Returns 1, 0: also if the kernel knows none, or the
 * interface has gone; or -errno. */
static int has_program(uint32_t index, uint32_t type)
{
	union bpf_attr query;

	memset(&query, 0, sizeof(query)); /* all of it, as the kernel demands */
	query.query.target_fd = index;
	query.query.attach_type = type;
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) == 0)
		return query.query.prog_cnt > 0;
	return errno == EINVAL || errno == ENOSYS || errno == ENODEV ? 0 : -errno;
}

int netns_has_tcx(const struct netns *ns, uint32_t index, bool *has, struct error *e)
{
	_cleanup_close_ int own = -1;
	int r = enter(ns, &own);

	*has = false;
	if (r == -ESRCH)
		return 0;
	if (r == 0)
		r = has_program(index, TCX_INGRESS);
	if (r == 0)
		r = has_program(index, TCX_EGRESS);
	*has = r > 0;
	return leave(ns, own, r, e);
}
