/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease.h"
#include "output.h"
#include "record.h"
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* As all that runs a command: env(1), nice(1), timeout(1)... */
#define NOT_FOUND 127
#define CANNOT_RUN 126

/* After COMMAND's end, between two looks whether the device is free: at first, and when
 * its holder has been told of. */
#define PAUSE (20 * MSEC)
#define LONG_PAUSE (500 * MSEC)
#define TELL_AFTER SEC

/* --- what COMMAND inherits ------------------------------------------------------ */

/* The signals whose actions vfio-bind changes: of a pipe behind stderr, of a file that
 * may not grow, of its own timers (lib/output.c, limit_time()), and of COMMAND's end. */
static const int changed[LEASE_SIGNALS] = {SIGPIPE, SIGXFSZ, SIGALRM, SIGVTALRM, SIGCHLD};

void lease_begin(struct lease *lease)
{
	for (size_t i = 0; i < ARRAY_SIZE(changed); i++)
		sigaction(changed[i], NULL, &lease->actions[i]);
	sigprocmask(SIG_SETMASK, NULL, &lease->mask);
}

static void restore_signals(const struct lease *lease)
{
	for (size_t i = 0; i < ARRAY_SIZE(changed); i++)
		sigaction(changed[i], &lease->actions[i], NULL);
	sigprocmask(SIG_SETMASK, &lease->mask, NULL);
}

/* Tell COMMAND which devices it has: their names, paths and nodes. */
static void set_environment(const struct lease *lease)
{
	_cleanup_free_ char *names = NULL, *paths = NULL, *all = NULL;

	for (size_t i = 0; i < lease->devices->n; i++) {
		const struct device *dev = &lease->devices->dev[i];
		_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes(dev);
		const char *node = nodes.group ? nodes.group : nodes.cdev;

		append(&names, " ", "%s", dev->name);
		append(&paths, " ", "%s", dev->path);
		if (node)
			append(&all, " ", "%s", node);
	}
	setenv("VFIO_BIND_DEVICES", names, 1);
	setenv("VFIO_BIND_PATHS", paths, 1);
	setenv("VFIO_BIND_NODES", all ? all : "", 1);
}

/* --- finding COMMAND ------------------------------------------------------------ */

/* Returns 0, or the errno of what keeps it from being run. */
static int check_executable(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return EACCES;
	return faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0 ? errno : 0;
}

/* ESTALE, ENODEV, ETIMEDOUT: the folder's server is gone. */
static bool is_not_here(int err)
{
	return err == ENOENT || err == ENOTDIR || err == ESTALE || err == ENODEV ||
	       err == ETIMEDOUT;
}

/* Look in the folders of PATH, as execvp(3). Returns the path, or NULL with errno: EACCES
 * if there is one that cannot be run. Where it cannot be told whether there is one, no
 * other one is taken for it. */
static char *find_in_path(const char *name)
{
	const char *dir = getenv("PATH"), *end;
	int why = ENOENT;

	if (!dir)
		dir = "/bin:/usr/bin"; /* as execvp(3) */
	do {
		int length, err;
		char *path;

		end = strchrnul(dir, ':');
		length = end - dir;
		path = format("%.*s%s%s", length, dir, length ? "/" : "", name);
		err = check_executable(path);
		if (!err)
			return path;
		free(path);
		if (err == EACCES)
			why = err;
		else if (!is_not_here(err)) {
			errno = err;
			return NULL;
		}
		dir = end + 1;
	} while (*end);
	errno = why;
	return NULL;
}

static int exit_status_of(int err)
{
	return err == ENOENT ? NOT_FOUND : CANNOT_RUN;
}

/* Set @e to why COMMAND cannot be run. */
static void cannot_run(const struct lease *lease, int err, struct error *e)
{
	error_set(e, STATUS_FAILED, "%s", lease->argv[0]);
	if (err == ENOENT)
		error_end(e, ": command not found");
	else
		error_end(e, ": cannot run it: %s", strerror(err));
}

int lease_find(struct lease *lease, int *exit_status, struct error *e)
{
	const char *name = lease->argv[0];
	bool is_path = strchr(name, '/') || !*name;
	int err = 0;

	if (is_path)
		err = check_executable(name);
	lease->path = is_path ? copy(name) : find_in_path(name);
	if (!lease->path)
		err = errno;
	if (!err)
		return 0;
	*exit_status = exit_status_of(err);
	cannot_run(lease, err, e);
	return -1;
}

char *lease_line(const struct lease *lease)
{
	char *line = NULL;

	for (char **word = lease->argv; *word; word++) {
		_cleanup_free_ char *quoted = **word ? shell_quoted(*word) : copy("''");

		append(&line, " ", "%s", quoted);
	}
	return line;
}

/* --- COMMAND -------------------------------------------------------------------- */

/* Who reads what the child says last has so long for it. */
#define LAST_WORD_MS 1000

/* The child: end, as COMMAND cannot be run. */
static void __attribute__((noreturn)) end_without(const struct lease *lease, int err)
{
	_cleanup_free_ char *line = NULL;
	struct error e;

	cannot_run(lease, err, &e);
	line = format("vfio-bind: %s\n", e.text);
	output_last(line, LAST_WORD_MS);
	_exit(exit_status_of(err));
}

/* The child: become COMMAND when the gate opens. The signals that the parent waits for
 * are blocked until then. */
static void __attribute__((noreturn)) become_command(const struct lease *lease, int gate)
{
	char word;
	ssize_t n = read(gate, &word, 1);
	int err = errno;

	if (n == 0)
		_exit(CANNOT_RUN); /* not to be started, or the parent is gone */
	if (n < 0)
		end_without(lease, err);
	set_environment(lease);
	for (int fd = 0; fd < 3; fd++) {
		if (lease->closed & 1U << fd)
			close(fd);
	}
	restore_signals(lease);
	execv(lease->path, lease->argv);
	end_without(lease, errno);
}

int lease_fork(struct lease *lease, struct error *e)
{
	int gate[2];

	if (pipe2(gate, O_CLOEXEC) < 0)
		return error_set(e, STATUS_FAILED, "cannot start COMMAND: %s",
				 strerror(errno));
	signal(SIGCHLD, SIG_DFL); /* ignored, COMMAND's status would be lost */
	lease->pid = fork();
	if (lease->pid == 0) {
		close(gate[1]);
		become_command(lease, gate[0]);
	}
	close(gate[0]);
	lease->gate = gate[1];
	lease->pidfd = lease->pid > 0 ? pidfd_open(lease->pid, 0) : -1;
	lease->running = lease->pidfd >= 0;
	if (lease->running)
		return 0;
	error_set(e, STATUS_FAILED, "cannot start COMMAND: %s", strerror(errno));
	lease_open(lease, false);
	if (lease->pid > 0)
		waitpid(lease->pid, NULL, 0); /* it ends by itself */
	return -1;
}

int lease_open(struct lease *lease, bool start)
{
	int err = 0;

	if (start)
		lease->started = write(lease->gate, "", 1) == 1;
	if (start && !lease->started)
		err = -errno;
	close(lease->gate);
	return err;
}

void lease_look(struct lease *lease)
{
	if (lease->running && waitpid(lease->pid, &lease->status, WNOHANG) == lease->pid)
		lease->running = false;
}

/* Has COMMAND got the kernel's signal itself? The terminal's go to the process group in
 * the foreground, which COMMAND may have left; a hangup goes to the leader of the session
 * alone (tty_signal_session_leader), and to that group when the leader has ended. */
static bool has_got(const struct lease *lease, int signal_number)
{
	return getpgid(lease->pid) == getpgrp() &&
	       (signal_number != SIGHUP || getsid(0) != getpid());
}

void lease_forward(const struct lease *lease, const struct signalfd_siginfo *info)
{
	int signal_number = (int)info->ssi_signo;

	if (info->ssi_code <= 0 || /* SI_USER, SI_QUEUE, SI_TKILL */
	    !has_got(lease, signal_number))
		kill(lease->pid, signal_number);
}

/* --- the worker's wait ---------------------------------------------------------- */

static void wait_for_end(const struct lessee *command)
{
	struct pollfd end = {.fd = command->pidfd, .events = POLLIN};

	while (poll(&end, 1, -1) < 0)
		;
	close(command->pidfd);
}

/* Wait until nobody holds it whom a release would have to wait for: COMMAND may have left
 * a process that does, for days. So who it is is not looked for in /proc each time. */
static void wait_until_free(const struct device *dev, void (*held)(const char *holders))
{
	_cleanup_nodes_ struct vfio_nodes nodes = vfio_nodes_of_group(dev);
	int64_t tell_at = now() + TELL_AFTER;
	struct error ignored; /* what cannot be told, the release's check refuses */
	bool told = false;
	int guard;

	for (;;) {
		_cleanup_free_ char *holders = NULL;

		if (vfio_look_past_workers(&nodes, &guard, &holders, &ignored) !=
		    HOLD_BY_USER)
			break;
		if (now() < tell_at) {
			sleep_for(PAUSE);
			continue;
		}
		if (!told)
			held(holders ? holders : "a process that cannot be seen");
		told = true;
		while (vfio_look(&nodes, &guard, &ignored) == HOLD_BY_USER)
			sleep_for(LONG_PAUSE);
		cleanup_close(&guard);
	}
	cleanup_close(&guard);
}

void lease_keep(const struct device *dev, int lock, const struct lessee *command,
		const char *name, void (*held)(const char *holders))
{
	const char *slash = strrchr(name, '/');

	name = slash ? slash + 1 : name;
	record_set_lease(lock, command->pid, name);
	if (command->pidfd >= 0)
		wait_for_end(command);
	record_set_lease(lock, 0, name);
	wait_until_free(dev, held);
}
