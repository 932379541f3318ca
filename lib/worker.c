/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"
#include "record.h"
#include "sysfs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* How long after its deadline the parent waits for the word of a worker that is not
 * stuck; and for each further step, as of an undo, that begins after it. */
#define GRACE (500 * MSEC)
#define GRACE_STEP SEC

/* What a worker says. */
enum what {
	WHAT_LOCKED, /* has the device's lock */
	WHAT_READY,  /* has checked all, and waits for GO */
	WHAT_STEP,   /* is about to do what error.text says */
	WHAT_WARNING,
	WHAT_RESULT,
};

struct message {
	enum what what;
	struct error error;
};

/* What it is told. */
#define GO 'g'
#define STOP 's'

struct worker {
	const struct device *dev;
	struct vfio_nodes nodes; /* while they can be seen: they go with the unbind */
	pid_t pid;
	int socket; /* -1: finished */
	bool locked, ready, left;
	char step[sizeof(((struct error *)NULL)->text)];
	int64_t give_up_at;
};

/* --- the child ----------------------------------------------------------------- */

static int parent = -1;
static int64_t deadline;
static const char *stopped;

static bool say(enum what what, const struct error *e)
{
	struct message message = {.what = what};

	if (e)
		message.error = *e;
	return send(parent, &message, sizeof(message), MSG_NOSIGNAL) >= 0;
}

static void say_step(const char *line)
{
	struct error e;

	error_set(&e, STATUS_DONE, "%s", line);
	say(WHAT_STEP, &e);
}

static void say_locked(void)
{
	say(WHAT_LOCKED, NULL);
}

static void say_warning(const struct error *e)
{
	say(WHAT_WARNING, e);
}

static bool say_done(void)
{
	struct error e = {0};

	return say(WHAT_RESULT, &e);
}

static const char *given_up(void)
{
	char word;
	ssize_t n;

	if (stopped)
		return stopped;
	n = recv(parent, &word, 1, MSG_DONTWAIT);
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		stopped = "interrupted";
	else if (now() >= deadline)
		stopped = "timed out";
	return stopped;
}

/* Until now nothing is touched, and the worker goes with its parent. From GO on it is on
 * its own. */
static bool begin(void)
{
	char word = STOP;

	if (given_up())
		return false;
	if (say(WHAT_READY, NULL) && recv(parent, &word, 1, 0) == 1 && word == GO &&
	    prctl(PR_SET_PDEATHSIG, 0) == 0)
		return true;
	stopped = "interrupted";
	return false;
}

static void __attribute__((noreturn))
work(const struct device *dev, const struct request *request, int socket)
{
	static const struct caller caller = {say_locked, begin, given_up, say_warning,
					     say_done};
	struct error e = {0};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	parent = detach(socket);
	deadline = request->deadline;
	sysfs_on_announce(say_step);
	if (command_run(dev, request, &caller, &e) < 0)
		say(WHAT_RESULT, &e);
	_exit(0);
}

/* --- the parent ---------------------------------------------------------------- */

static void finish(struct worker *worker, const struct error *e,
		   const struct listener *listener)
{
	close(worker->socket);
	worker->socket = -1;
	vfio_nodes_clear(&worker->nodes);
	listener->result(worker->dev, e);
}

/* Hear one message. False: there is none. */
static bool hear(struct worker *worker, const struct listener *listener)
{
	struct message message;
	struct error e = {0};
	ssize_t n = recv(worker->socket, &message, sizeof(message), MSG_DONTWAIT);

	if (n < 0)
		return false;
	if (n != sizeof(message) && worker->left)
		return false;
	if (n != sizeof(message)) {
		waitpid(worker->pid, NULL, 0);
		error_set(&e, worker->ready ? STATUS_BROKEN : STATUS_FAILED,
			  "its worker (pid %d) was killed", worker->pid);
		if (worker->ready)
			error_hint(&e, "to put it back: vfio-bind release %s/%s",
				   worker->dev->bus, worker->dev->name);
		finish(worker, &e, listener);
		return true;
	}
	switch (message.what) {
	case WHAT_LOCKED:
		worker->locked = true;
		break;
	case WHAT_READY:
		worker->ready = send(worker->socket, &(char){GO}, 1, MSG_NOSIGNAL) == 1;
		break;
	case WHAT_STEP:
		if (streq(worker->step, message.error.text)) /* a deferred probe, again */
			break;
		memcpy(worker->step, message.error.text, sizeof(worker->step));
		if (now() + GRACE > worker->give_up_at)
			worker->give_up_at = now() + GRACE_STEP;
		listener->step(worker->step);
		break;
	case WHAT_WARNING:
		listener->warning(worker->dev, &message.error);
		break;
	case WHAT_RESULT:
		waitpid(worker->pid, NULL, 0); /* and with it, its lock */
		finish(worker, &message.error, listener);
		break;
	}
	return true;
}

/* The time is up, and the worker has not said how it ended. */
static void leave(struct worker *worker, const struct request *request,
		  const char *reason, const struct listener *listener)
{
	_cleanup_free_ char *holder = NULL, *held = NULL;
	struct error e = {0};

	/* From here on it cannot make itself heard, and knows; what it said is heard. */
	shutdown(worker->socket, SHUT_RDWR);
	worker->left = true;
	while (worker->socket >= 0 && hear(worker, listener))
		;
	if (worker->socket < 0)
		return;
	if (!worker->locked) {
		holder = record_lock_holder(worker->dev);
		error_set(&e, STATUS_REFUSED, "%s: locked by %s", reason,
			  holder ? holder : "another process");
		finish(worker, &e, listener);
		return;
	}
	holder = vfio_holders(worker->dev, &worker->nodes, worker->pid);
	held = holder ? format("held by %s", holder) : NULL;
	if (!worker->ready) {
		error_set(&e, STATUS_REFUSED, "%s: %s", reason,
			  held ? held : "the kernel has not answered to all checks yet");
	} else {
		error_set(&e, STATUS_BROKEN, "%s: the kernel is not done with: %s%s%s",
			  reason, worker->step, held ? "; " : "", held ? held : "");
		error_hint(&e,
			   request->command == COMMAND_RELEASE
				   ? "the release is completed when it is; pid %d waits "
				     "for it"
				   : "the device is put back when it is; pid %d waits "
				     "for it",
			   worker->pid);
	}
	finish(worker, &e, listener);
}

static int start(struct worker *worker, const struct request *request, struct error *e)
{
	pid_t caller = getpid();
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_set(e, STATUS_FAILED, "cannot make a socket: %s",
				 strerror(errno));
	worker->nodes = vfio_nodes(worker->dev);
	worker->give_up_at = request->deadline + GRACE;
	worker->pid = fork();
	if (worker->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != caller)
			_exit(STATUS_FAILED);
		work(worker->dev, request, sockets[1]);
	}
	close(sockets[1]);
	worker->socket = sockets[0];
	if (worker->pid > 0)
		return 0;
	return error_set(e, STATUS_FAILED, "cannot fork: %s", strerror(errno));
}

/* An fd to read the signals to stop from; those that the caller ignores are left so. */
static int stop_signals(sigset_t *before)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++) {
		struct sigaction action;

		if (sigaction(signals[i], NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, before);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int read_signal(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

/* Tell all to stop; told twice, stop waiting for them. */
static void interrupt(struct worker *workers, size_t n, bool again)
{
	for (size_t i = 0; i < n; i++) {
		if (workers[i].socket < 0)
			continue;
		send(workers[i].socket, &(char){STOP}, 1, MSG_NOSIGNAL);
		workers[i].give_up_at = now() + (again ? 0 : GRACE);
	}
}

/* Wait for a message, a signal or the time to give up on one. Returns a signal or 0. */
static int wait_for_news(const struct worker *workers, size_t n, int signals)
{
	struct pollfd *fds = calloc(n + 1, sizeof(*fds));
	int64_t until = INT64_MAX, wait;
	struct timespec timeout;
	int signal;

	if (!fds)
		abort();
	for (size_t i = 0; i < n; i++) {
		fds[i] = (struct pollfd){.fd = workers[i].socket, .events = POLLIN};
		if (workers[i].socket >= 0 && workers[i].give_up_at < until)
			until = workers[i].give_up_at;
	}
	fds[n] = (struct pollfd){.fd = signals, .events = POLLIN};
	wait = until > now() ? until - now() : 0;
	timeout = (struct timespec){.tv_sec = wait / SEC, .tv_nsec = wait % SEC};
	ppoll(fds, n + 1, &timeout, NULL);
	signal = fds[n].revents ? read_signal(signals) : 0;
	free(fds);
	return signal;
}

static size_t unfinished(const struct worker *workers, size_t n)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++)
		left += workers[i].socket >= 0;
	return left;
}

int worker_run(const struct device *devs, size_t n, const struct request *request,
	       const struct listener *listener)
{
	struct worker *workers = calloc(n, sizeof(*workers));
	int interrupted = 0;
	sigset_t before;
	int signals = stop_signals(&before);
	struct error e = {0};

	if (!workers)
		abort();
	for (size_t i = 0; i < n; i++) {
		workers[i].dev = &devs[i];
		workers[i].socket = -1;
	}
	for (size_t i = 0; i < n; i++) {
		if (start(&workers[i], request, &e) < 0)
			finish(&workers[i], &e, listener);
	}
	while (unfinished(workers, n) > 0) {
		int signal = wait_for_news(workers, n, signals);

		if (signal) {
			interrupt(workers, n, interrupted != 0);
			interrupted = signal;
		}
		for (size_t i = 0; i < n; i++) {
			while (workers[i].socket >= 0 && hear(&workers[i], listener))
				;
			if (workers[i].socket >= 0 && now() >= workers[i].give_up_at)
				leave(&workers[i], request,
				      interrupted ? "interrupted" : "timed out",
				      listener);
		}
	}
	free(workers);
	close(signals);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return interrupted;
}
