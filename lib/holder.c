/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "holder.h"
#include "mount.h"
#include "sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <poll.h>
#include <search.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define CANNOT_TELL "cannot tell who has it open: "

/* --- files ----------------------------------------------------------------------- */

void file_ids_add(struct file_ids *files, struct file_id file)
{
	files->file = with_room(files->file, files->n, sizeof(file));
	files->file[files->n++] = file;
}

void file_ids_clear(struct file_ids *files)
{
	free(files->file);
	*files = (struct file_ids){0};
}

static bool same_file(struct file_id a, struct file_id b)
{
	return a.type == b.type && a.number == b.number;
}

static bool has_file(const struct file_ids *files, struct file_id file)
{
	if (S_ISREG(file.type)) /* most are, and nobody looks for those */
		return false;
	for (size_t i = 0; i < files->n; i++) {
		if (same_file(files->file[i], file))
			return true;
	}
	return false;
}

/* --- a scan ---------------------------------------------------------------------- */

/* What the child that looks tells its parent. */
struct finding {
	enum { FOUND, UNSEEN, GOES_ON, ENDED } what; /* GOES_ON: to holder.pid */
	struct holder holder;
	char unseen[128]; /* what it could not look at, and why */
};

struct scan {
	const struct file_ids *files;
	int to_parent;
	void *mapped; /* a tree of struct mapping: many processes map the same files */
	pid_t pid;    /* whose turn it is */
};

static void tell(const struct scan *scan, const struct finding *finding)
{
	if (send(scan->to_parent, finding, sizeof(*finding), MSG_NOSIGNAL) < 0)
		_exit(1);
}

/* Is it the error of a process that has ended meanwhile? */
static bool is_end(int err)
{
	return err == ENOENT || err == ESRCH;
}

/* Tell that the look goes on, to another process or to other descriptors of this one. */
static void goes_on(const struct scan *scan)
{
	tell(scan, &(struct finding){.what = GOES_ON, .holder.pid = scan->pid});
}

/* Tell that /proc/PID/@what could not be looked at, unless the process has ended. */
static void cannot_see(const struct scan *scan, const char *what, int err)
{
	struct finding finding = {.what = UNSEEN};

	if (is_end(err))
		return;
	snprintf(finding.unseen, sizeof(finding.unseen), "/proc/%d/%s: %s", scan->pid,
		 what, strerror(err));
	tell(scan, &finding);
}

/* Tell that the process has the file open. */
static void found(const struct scan *scan, struct file_id file)
{
	struct finding finding = {.what = FOUND,
				  .holder = {.file = file, .pid = scan->pid}};
	struct holder *holder = &finding.holder;
	_cleanup_free_ char *name = sysfs_process_name(scan->pid);
	_cleanup_free_ char *process = NULL;

	if (!name && is_end(errno))
		return;
	if (!name)
		cannot_see(scan, "comm", errno);
	process = sysfs_process(scan->pid);
	if (name)
		snprintf(holder->name, sizeof(holder->name), "%s", name);
	else
		snprintf(holder->name, sizeof(holder->name), "? (pid %d)", scan->pid);
	if (process)
		IGNORE(sscanf(process, "%*c %d", &holder->parent));
	tell(scan, &finding);
}

/* What the file is, without asking the server of a network or FUSE file system, which may
 * never answer. */
static int look_at(int dir, const char *name, struct statx *st)
{
	return statx(dir, name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT,
		     STATX_TYPE | STATX_INO, st);
}

/* Who is not its owner is denied even a look into a user's FUSE file system; but no node
 * can be opened there (nodev). */
static bool is_fuse(int dir, const char *name)
{
	_cleanup_free_ char *path = format("/proc/self/fd/%d/%s", dir, name);
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == FUSE_SUPER_MAGIC;
}

/* Does the error of a look tell that the file is no node? Or it has been closed. A server
 * that is gone, or has forgotten the file, had no node to give. EIO: a FUSE server has
 * made another kind of file of it (fuse_make_bad). */
static bool is_no_node(int err, int dir, const char *name)
{
	return err == ESTALE || err == ENOTCONN || sysfs_process_ended(dir, name, err) ||
	       ((err == EACCES || err == EIO) && is_fuse(dir, name));
}

static struct file_id id_of(const struct statx *st)
{
	struct file_id file = {.type = st->stx_mode & S_IFMT};

	if (S_ISCHR(file.type) || S_ISBLK(file.type))
		file.number = makedev(st->stx_rdev_major, st->stx_rdev_minor);
	else if (S_ISSOCK(file.type))
		file.number = st->stx_ino;
	else
		file.type = S_IFREG; /* nobody looks for it */
	return file;
}

/* --- descriptors ----------------------------------------------------------------- */

/* The value of a line of /proc/PID/fdinfo/FD; a new string, or NULL with errno: 0 if
 * there is no such line. */
static char *fdinfo(int fds, const char *fd, const char *key)
{
	_cleanup_free_ char *path = format("../fdinfo/%s", fd);
	_cleanup_free_ char *info = sysfs_read_at(fds, path);
	char *line = info ? strstr(info, key) : NULL;

	if (!line) {
		errno = info ? 0 : errno;
		return NULL;
	}
	line += strlen(key);
	line += strspn(line, " \t");
	line[strcspn(line, "\n")] = '\0';
	return copy(line);
}

/* From Linux 6.18 on, the fdinfo of a VFIO device fd names the device. Returns 0, or
 * -errno. */
static int vfio_device(int fds, const char *fd, struct file_id *file)
{
	_cleanup_free_ char *path = fdinfo(fds, fd, "vfio-device-syspath:");
	int err = path ? 0 : -errno;
	char *end = path ? strstr(path, "/devices/") : NULL;
	_cleanup_free_ char *here = end ? format("/sys%s", end) : NULL;
	struct stat st;

	if (!here)
		return err;
	if (stat(here, &st) < 0)
		return -errno;
	*file = (struct file_id){.number = st.st_ino};
	return 0;
}

/* What a file without a type is, an anonymous inode: that of a device, or nothing that is
 * looked for. Returns 0, or -errno. */
static int anonymous(int fds, const char *fd, struct file_id *file)
{
	char link[PATH_MAX];
	ssize_t n = readlinkat(fds, fd, link, sizeof(link) - 1);

	*file = (struct file_id){.type = S_IFREG};
	if (n < 0)
		return -errno;
	link[n] = '\0';
	return streq(link, "anon_inode:[vfio-device]") ? vfio_device(fds, fd, file) : 0;
}

static bool is_only_a_path(int fds, const char *fd)
{
	_cleanup_free_ char *flags = fdinfo(fds, fd, "flags:");

	return flags && strtoull(flags, NULL, 8) & O_PATH;
}

static void scan_fd(struct scan *scan, int fds, const char *fd)
{
	struct file_id file;
	struct statx st;
	int err = 0;

	if (look_at(fds, fd, &st) < 0) {
		err = errno;
		if (!is_no_node(err, fds, fd))
			cannot_see(scan, "fd", err);
		return;
	}
	if (st.stx_mode & S_IFMT)
		file = id_of(&st);
	else
		err = anonymous(fds, fd, &file);
	if (err < 0 && !sysfs_process_ended(fds, fd, -err))
		cannot_see(scan, "fd", -err);
	if (has_file(scan->files, file) && !is_only_a_path(fds, fd))
		found(scan, file);
}

/* Look at the descriptors at @path below the folder of the process: its own, or those of
 * a thread. Returns whether there are any. */
static bool scan_fds(struct scan *scan, int process, const char *path)
{
	int fd = openat(process, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *fds = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	bool any = false;

	if (!fds) {
		cannot_see(scan, path, errno);
		return false;
	}
	while (errno = 0, (entry = readdir(fds))) {
		if (entry->d_name[0] == '.')
			continue;
		any = true;
		scan_fd(scan, dirfd(fds), entry->d_name);
	}
	if (errno)
		cannot_see(scan, path, errno);
	return any;
}

/* Look at the descriptors of threads that do not share those of the one before them, as
 * they have left them (unshare(2)) or as that one has ended. */
static void scan_threads(struct scan *scan, int process)
{
	int fd = openat(process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
	pid_t last = scan->pid;
	struct dirent *task;

	if (!tasks) {
		cannot_see(scan, "task", errno);
		return;
	}
	while (errno = 0, (task = readdir(tasks))) {
		pid_t thread = atoi(task->d_name);
		_cleanup_free_ char *path = format("task/%d/fd", thread);

		if (thread == 0 || thread == scan->pid ||
		    syscall(SYS_kcmp, last, thread, KCMP_FILES, 0, 0) == 0)
			continue;
		goes_on(scan);
		if (scan_fds(scan, process, path))
			last = thread;
	}
	if (errno)
		cannot_see(scan, "task", errno);
}

/* --- maps ------------------------------------------------------------------------ */

/* Known by all that the kernel tells of it: an overlay, say, can have two files of one
 * inode number. */
struct mapping {
	unsigned int major, minor; /* of the file system */
	uint64_t inode;
	char *path;
	struct file_id file;
};

static void mapping_free(struct mapping *mapping)
{
	free(mapping->path);
	free(mapping);
}

static int compare_mappings(const void *a, const void *b)
{
	const struct mapping *x = a, *y = b;
	uint64_t m = makedev(x->major, x->minor), n = makedev(y->major, y->minor);

	if (m != n)
		return m < n ? -1 : 1;
	if (x->inode != y->inode)
		return x->inode < y->inode ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* Find what the process has mapped at @begin to @end. Returns 0 or -errno. */
static int identify(int process, uint64_t begin, uint64_t end, struct file_id *file)
{
	_cleanup_free_ char *path = format("map_files/%" PRIx64 "-%" PRIx64, begin, end);
	struct statx st;
	int err;

	*file = (struct file_id){.type = S_IFREG};
	if (look_at(process, path, &st) == 0) {
		*file = id_of(&st);
		return 0;
	}
	err = errno;
	return is_no_node(err, process, path) ? 0 : -err;
}

/* Parse a line of maps. Returns false if no file is mapped there. */
static bool parse_mapping(const char *line, struct mapping *mapping, uint64_t *begin,
			  uint64_t *end)
{
	int path = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %*s %*s %x:%x %" SCNu64 "%n", begin,
		   end, &mapping->major, &mapping->minor, &mapping->inode, &path) != 5 ||
	    mapping->inode == 0)
		return false;
	mapping->path = copy(line + path);
	return true;
}

static void scan_mapping(struct scan *scan, int process, const char *line)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping)), **known;
	uint64_t begin, end;
	int err;

	if (!mapping)
		abort();
	if (!parse_mapping(line, mapping, &begin, &end)) {
		mapping_free(mapping);
		return;
	}
	known = tsearch(mapping, &scan->mapped, compare_mappings);
	if (!known)
		abort();
	if (*known != mapping) {
		mapping_free(mapping);
	} else if ((err = identify(process, begin, end, &mapping->file)) < 0) {
		tdelete(mapping, &scan->mapped, compare_mappings);
		mapping_free(mapping);
		cannot_see(scan, "map_files", -err);
		return;
	}
	if (has_file(scan->files, (*known)->file))
		found(scan, (*known)->file);
}

/* Look at the maps of a process, or thread. Returns whether it has any. */
static bool scan_maps(struct scan *scan, int process)
{
	int fd = openat(process, "maps", O_RDONLY | O_CLOEXEC);
	FILE *maps = fd >= 0 ? fdopen(fd, "r") : NULL;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	bool any = false;

	if (!maps) {
		cannot_see(scan, "maps", errno);
		return false;
	}
	while (errno = 0, getline(&line, &size, maps) > 0) {
		scan_mapping(scan, process, line);
		any = true;
	}
	if (errno)
		cannot_see(scan, "maps", errno);
	fclose(maps);
	return any;
}

/* Look at the maps by another thread: the main one has ended, and shows none. Any that
 * has not shows all of them. */
static void scan_maps_of_threads(struct scan *scan, int proc, int process)
{
	int fd = openat(process, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *tasks = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *task;
	bool any = false;

	while (tasks && !any && (errno = 0, task = readdir(tasks))) {
		_cleanup_close_ int thread = -1;

		if (atoi(task->d_name) == 0 || atoi(task->d_name) == scan->pid)
			continue;
		thread = openat(proc, task->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		goes_on(scan);
		if (thread < 0)
			cannot_see(scan, "task", errno);
		else
			any = scan_maps(scan, thread);
	}
	if (!any && errno)
		cannot_see(scan, "task", errno);
}

/* --- all processes ----------------------------------------------------------------- */

/* Of Linux's include/linux/sched.h; /proc/PID/stat shows it. */
#define PF_KTHREAD 0x00200000

/* Most processes are kernel threads, which have neither descriptors nor maps. */
static bool is_kernel_thread(pid_t pid)
{
	_cleanup_free_ char *process = sysfs_process(pid);
	unsigned int flags;

	return process && sscanf(process, "%*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       flags & PF_KTHREAD;
}

static void scan_process(struct scan *scan, int proc, const char *pid)
{
	_cleanup_close_ int process = -1;

	scan->pid = atoi(pid);
	if (is_kernel_thread(scan->pid))
		return;
	process = openat(proc, pid, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	goes_on(scan);
	if (process < 0) {
		cannot_see(scan, "", errno);
		return;
	}
	scan_fds(scan, process, "fd");
	scan_threads(scan, process);
	if (!scan_maps(scan, process))
		scan_maps_of_threads(scan, proc, process);
}

/* Has this process the right to look into all processes, whatever /proc hides? */
static bool may_see_all(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capget, &header, data) == 0 &&
	       data[CAP_TO_INDEX(CAP_SYS_PTRACE)].effective & CAP_TO_MASK(CAP_SYS_PTRACE);
}

/* Was /proc mounted to hide the processes of others (hidepid=)? If it cannot be told
 * what is mounted, that counts as well. */
static bool is_hiding(void)
{
	_cleanup_mounts_ struct mounts mounts = {0};
	bool hiding = mounts_read(&mounts) < 0;

	for (size_t i = 0; i < mounts.n; i++) {
		const struct mount *mount = &mounts.mount[i];

		hiding |= streq(mount->where, "/proc") && streq(mount->type, "proc") &&
			  strstr(mount->options, "hidepid=");
	}
	return hiding;
}

/* Process 1 is always there, unless this is no proc file system, or one that hides it;
 * but it may be the one process that is as poor as this one. */
static bool shows_all(void)
{
	return access("/proc/1", F_OK) == 0 && (may_see_all() || !is_hiding());
}

static void __attribute__((noreturn)) scan_all(const struct file_ids *files, int socket)
{
	struct scan scan = {.files = files};
	struct dirent *entry;
	DIR *proc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	scan.to_parent = detach(socket);
	proc = opendir("/proc");
	if (proc && !shows_all())
		tell(&scan, &(struct finding){.what = UNSEEN,
					      .unseen = "/proc does not show all "
							"processes"});
	while (proc && (errno = 0, entry = readdir(proc))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			scan_process(&scan, dirfd(proc), entry->d_name);
	}
	if (errno)
		tell(&scan, &(struct finding){.what = UNSEEN, .unseen = "/proc"});
	tell(&scan, &(struct finding){.what = ENDED});
	_exit(0);
}

/* --- the parent of the scan -------------------------------------------------------- */

/* For one process, or one thread with its own descriptors: many may take longer. */
#define LOOK_TIME (5 * SEC)

static void add_holder(struct holders *holders, const struct holder *holder)
{
	holders->holder = with_room(holders->holder, holders->n, sizeof(*holder));
	holders->holder[holders->n++] = *holder;
}

/* Set @e to that a look into the process lasts too long. Its name can be read without a
 * wait for what it does, as its maps cannot. Returns -1. */
static int too_long(pid_t pid, struct error *e)
{
	_cleanup_free_ char *name = sysfs_process_name(pid);

	if (name)
		return error_set(e, STATUS_REFUSED,
				 CANNOT_TELL "it takes too long to look into %s", name);
	return error_set(e, STATUS_REFUSED,
			 CANNOT_TELL "it takes too long to look into process %d", pid);
}

/* Take what the child tells, until it has *@ended. Returns 0 or -1 with @e. */
static int hear(int child, int64_t deadline, int stop, struct holders *holders,
		bool *ended, struct error *e)
{
	int64_t until = now() + LOOK_TIME;
	pid_t pid = 0; /* that it looks into */
	struct pollfd fds[] = {{.fd = child, .events = POLLIN},
			       {.fd = stop, .events = POLLIN}};
	struct finding finding = {0};
	int result = 0;

	for (;;) {
		int64_t left = (until < deadline ? until : deadline) - now();
		int ready =
			left > 0 ? poll(fds, ARRAY_SIZE(fds), (int)(left / MSEC) + 1) : 0;

		if (ready < 0 && errno == EINTR)
			continue;
		if (ready == 0)
			return too_long(pid, e);
		if (fds[1].revents)
			return error_set(e, STATUS_REFUSED, CANNOT_TELL "interrupted");
		if (recv(child, &finding, sizeof(finding), MSG_DONTWAIT) <= 0)
			return error_set(e, STATUS_REFUSED,
					 CANNOT_TELL "who looked has ended");
		*ended = finding.what == ENDED;
		if (*ended)
			return result;
		if (finding.what == GOES_ON) {
			pid = finding.holder.pid;
			until = now() + LOOK_TIME;
		} else if (finding.what == FOUND) {
			add_holder(holders, &finding.holder);
		} else if (result == 0) {
			result = error_set(e, STATUS_REFUSED, CANNOT_TELL "%s",
					   finding.unseen);
		}
	}
}

int holders_find(const struct file_ids *files, int64_t deadline, int stop,
		 struct holders *holders, struct error *e)
{
	bool ended = false;
	int sockets[2], result;
	pid_t child;

	*holders = (struct holders){.at = now()};
	for (size_t i = 0; i < files->n; i++)
		file_ids_add(&holders->asked, files->file[i]);
	if (!files->n)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_set(e, STATUS_REFUSED, CANNOT_TELL "%s", strerror(errno));
	child = fork();
	if (child == 0)
		scan_all(files, sockets[1]);
	close(sockets[1]);
	result = child < 0 ? error_set(e, STATUS_REFUSED, CANNOT_TELL "cannot fork: %s",
				       strerror(errno))
			   : hear(sockets[0], deadline, stop, holders, &ended, e);
	holders->at = now();
	close(sockets[0]);
	if (child > 0 && !ended)
		kill(child, SIGKILL);
	if (child > 0) /* it may be stuck beyond any signal: that is not waited for */
		reap(child);
	return result;
}

void holders_clear(struct holders *holders)
{
	file_ids_clear(&holders->asked);
	free(holders->holder);
	*holders = (struct holders){0};
}

bool holders_know(const struct holders *holders, const struct file_ids *files)
{
	for (size_t i = 0; i < files->n; i++) {
		if (!has_file(&holders->asked, files->file[i]))
			return false;
	}
	return true;
}

char *holders_text(const struct holders *holders, const struct file_ids *files,
		   size_t max)
{
	_cleanup_names_ struct names names = {0};
	pid_t last = 0; /* the holders of a process are one behind the other */

	for (size_t i = 0; i < holders->n; i++) {
		const struct holder *holder = &holders->holder[i];

		if (holder->pid == last || !has_file(files, holder->file))
			continue;
		last = holder->pid;
		names_add(&names, holder->name);
	}
	return names_text(&names, ", ", max);
}
