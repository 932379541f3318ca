/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"
#include "group.h"
#include "output.h"
#include "record.h"
#include "sysfs.h"
#include "usage.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* After the deadline the parent waits this long for a last message of each worker. */
#define GRACE (500 * MSEC)

/* A worker that is not stuck gets this long more, and so much again for each step (of an
 * undo, say) that it begins after the deadline. */
#define GRACE_STEP (5 * SEC)

/* Beside a socket for each worker, the parent has so many files open at once, at most:
 * the other end of a socket, and what it takes to look who holds a device. */
#define SPARE_FDS 4

/* A message that the kernel has no room for is sent again. */
#define SEND_TRIES 50
#define SEND_PAUSE (10 * MSEC)

/* Messages of a worker to the parent. */
enum what {
	WHAT_PHASE, /* the worker has ended this phase, and waits for GO */
	WHAT_STEP,  /* the worker is about to make the step in error.text */
	WHAT_ENDED, /* the kernel has answered that step */
	WHAT_WARNING,
	WHAT_USERS, /* these processes use the device through its host driver */
	WHAT_RESULT,
};

struct message {
	enum what what;
	enum phase phase;
	struct error error;
};

#define GROUP_FAILED "another device of its IOMMU group cannot be taken"

/* Words of the parent to a worker, one byte each. */
#define GO 'g'
#define STOP_INTERRUPTED 'i'
#define STOP_TIMED_OUT 't'
#define STOP_GROUP_FAILED 's'

/* Send a message to the other end. Returns 0 or -errno; EPIPE: nobody hears any more. */
static int transmit(int socket, const void *message, size_t size)
{
	int err = 0;

	for (int i = 0; i < SEND_TRIES; i++) {
		if (send(socket, message, size, MSG_NOSIGNAL) >= 0)
			return 0;
		err = errno;
		if (err == EPIPE || err == ECONNRESET)
			return -EPIPE;
		sleep_for(SEND_PAUSE);
	}
	return -err;
}

struct worker {
	const struct device *dev;
	char *group; /* IOMMU group number: all workers of one group get there, or none;
			NULL: this device stands alone */
	char *users; /* of the device through its host driver, before the unbind; NULL:
		      * none
		      */
	struct vfio_nodes nodes; /* read before the worker starts: the unbind removes
				    them, but a holder is still found by their names */
	pid_t pid;		 /* 0: not started */
	int socket;		 /* -1: not started, or finished */
	enum phase reached;	 /* the last phase that the worker has ended */
	enum phase allowed;	 /* the last one that it got GO for */
	bool told_to_stop;
	bool given_grace; /* GRACE_STEP more, as its time was up and it was not stuck */
	bool left;	  /* the parent waits for the worker no longer */
	bool finished;	  /* the user has been told how the worker ended */
	bool failed;	  /* finished, and with an error */
	bool in_step;	  /* the kernel has not answered the last step yet */
	char step[sizeof(((struct error *)NULL)->text)]; /* the last step, as a line for a
							    root shell */
	int64_t give_up_at;				 /* monotonic ns */
};

struct workers {
	struct worker *worker;
	size_t n;
	const struct request *request;
	const struct listener *listener;
	int64_t deadline; /* monotonic ns: the request's, or when a signal came */
	int interrupted;  /* the last signal that came, or 0 */
	bool hurry;	  /* a second signal has come: the parent waits for no worker */
};

/* --- the child ----------------------------------------------------------------- */

static int to_parent = -1;	/* the worker's end of the socket */
static int64_t deadline;	/* monotonic ns */
static const char *stop_reason; /* why this worker gives up; NULL: it does not */

/* A worker whose parent hears no more goes on; may_pass() and given_up() see to that. One
 * that cannot send although the parent hears gives up, and ends with its status, of which
 * the parent hears otherwise. */
static void say(const struct message *message)
{
	int err = transmit(to_parent, message, sizeof(*message));

	if (err < 0 && err != -EPIPE && !stop_reason)
		stop_reason = "its worker cannot be heard";
}

static void say_text(enum what what, const char *text)
{
	struct message message = {.what = what};

	error_set(&message.error, STATUS_DONE, "%s", text);
	say(&message);
}

static void say_step(const char *line)
{
	say_text(WHAT_STEP, line);
}

static void say_ended(void)
{
	say(&(struct message){.what = WHAT_ENDED});
}

static void say_warning(const char *text)
{
	say_text(WHAT_WARNING, text);
}

static void say_users(const char *text)
{
	say_text(WHAT_USERS, text);
}

/* Note why the parent tells this worker to stop; @word is any but GO. */
static void hear_stop(char word)
{
	stop_reason = word == STOP_GROUP_FAILED ? GROUP_FAILED
		      : word == STOP_TIMED_OUT	? "timed out"
						: "interrupted";
}

static const char *given_up(void)
{
	char word = STOP_INTERRUPTED; /* also when the parent has closed its end */
	ssize_t n;

	if (stop_reason)
		return stop_reason;
	n = recv(to_parent, &word, 1, MSG_DONTWAIT);
	if (n >= 0 || (errno != EAGAIN && errno != EINTR))
		hear_stop(word);
	else if (now() >= deadline)
		stop_reason = "timed out";
	return stop_reason;
}

/* Tell the parent that this worker has ended the phase, and wait for GO, which comes when
 * all workers of the IOMMU group have. Meanwhile only the parent looks at the deadline:
 * else its GO could cross with a worker that has just given up. Until GO for PHASE_READY
 * nothing is written, and the kernel kills the worker when its parent dies; from then on
 * the worker outlives its parent. */
static bool may_pass(enum phase phase)
{
	char word = STOP_INTERRUPTED; /* also when the parent has closed its end */

	if (phase != PHASE_LOCKED && given_up())
		return false;
	say(&(struct message){.what = WHAT_PHASE, .phase = phase});
	if (stop_reason)
		return false;
	recv(to_parent, &word, 1, 0);
	if (word != GO)
		hear_stop(word);
	else if (phase == PHASE_READY)
		prctl(PR_SET_PDEATHSIG, 0);
	/* With the lock, even a worker whose time is up goes on to the checks: they tell
	 * who holds the device. */
	return !stop_reason || (phase == PHASE_LOCKED && word == STOP_TIMED_OUT);
}

static void __attribute__((noreturn))
work(const struct device *dev, const struct request *request, int socket)
{
	static const struct supervisor supervisor = {may_pass, given_up, say_warning,
						     say_users};
	static const struct sysfs_listener listener = {say_step, say_ended};
	struct message result = {.what = WHAT_RESULT};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	to_parent = detach(socket);
	deadline = request->deadline;
	sysfs_listen(&listener);
	if (command_run(dev, request, &supervisor, &result.error) == 0)
		result.error = (struct error){0};
	say(&result);
	_exit(result.error.status);
}

/* --- the parent ---------------------------------------------------------------- */

static void finish(const struct workers *workers, struct worker *worker,
		   const struct error *result)
{
	struct error e = *result;

	/* Nothing that can be done with it is left to be said. */
	if (e.status != STATUS_DONE && device_is_gone(worker->dev)) {
		error_end(&e, "; it was unplugged");
		*e.hint = '\0';
	}
	if (worker->socket >= 0)
		close(worker->socket);
	worker->socket = -1;
	worker->finished = true;
	worker->failed = e.status != STATUS_DONE;
	vfio_nodes_clear(&worker->nodes);
	free(worker->users);
	worker->users = NULL;
	workers->listener->result(worker->dev, &e);
}

/* May the worker have written below /sys? */
static bool may_have_written(const struct worker *worker)
{
	return worker->allowed >= PHASE_READY && !sysfs_is_dry_run();
}

/* Set @e to how the worker ended of which no result came. Nobody knows if SIGCHLD is
 * ignored. */
static void tell_end(const struct worker *worker, struct error *e)
{
	enum status unknown = may_have_written(worker) ? STATUS_BROKEN : STATUS_FAILED;
	int end;

	if (waitpid(worker->pid, &end, 0) < 0)
		error_set(e, unknown, "its worker (pid %d) has ended without a word",
			  worker->pid);
	else if (WIFSIGNALED(end))
		error_set(e, unknown, "its worker (pid %d) was killed by SIG%s",
			  worker->pid, sigabbrev_np(WTERMSIG(end)));
	else if (WEXITSTATUS(end) != STATUS_DONE)
		error_set(e, WEXITSTATUS(end),
			  "its worker (pid %d) could not tell what went wrong",
			  worker->pid);
}

/* The worker has ended without a result. */
static void hear_death(const struct workers *workers, struct worker *worker)
{
	struct error e = {0};

	tell_end(worker, &e);
	if (e.status == STATUS_BROKEN)
		error_hint(&e, "to put it back: vfio-bind release %s%s/%s",
			   workers->request->boot ? "--boot " : "", worker->dev->bus,
			   worker->dev->name);
	finish(workers, worker, &e);
}

static void hear_step(const struct workers *workers, struct worker *worker,
		      const char *line)
{
	worker->in_step = true;
	if (streq(worker->step, line)) /* a deferred probe that is tried again: the user
					  has heard of it */
		return;
	memcpy(worker->step, line, sizeof(worker->step));
	if (now() >= workers->deadline && !workers->hurry)
		worker->give_up_at = now() + GRACE_STEP;
	workers->listener->step(worker->step);
}

/* Take one message of the worker, and act on it. False: there is none now. */
static bool hear(const struct workers *workers, struct worker *worker)
{
	struct message message;
	ssize_t n = recv(worker->socket, &message, sizeof(message), MSG_DONTWAIT);

	/* The worker has ended. Its last message may be there all the same, so look once
	 * more: the worker sent it after recv() found the queue empty and before recv()
	 * looked for the end (unix_dgram_recvmsg); or it is behind ECONNRESET, which says
	 * that the worker ended with a word of the parent unread (unix_release_sock). */
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		n = recv(worker->socket, &message, sizeof(message), MSG_DONTWAIT);
	if (n < 0 || (n != sizeof(message) && worker->left))
		return false;
	if (n != sizeof(message)) {
		hear_death(workers, worker);
		return true;
	}
	switch (message.what) {
	case WHAT_PHASE:
		worker->reached = message.phase;
		break;
	case WHAT_STEP:
		hear_step(workers, worker, message.error.text);
		break;
	case WHAT_ENDED:
		worker->in_step = false;
		break;
	case WHAT_WARNING:
		workers->listener->warning(worker->dev, &message.error);
		break;
	case WHAT_USERS:
		free(worker->users);
		worker->users = copy(message.error.text);
		break;
	case WHAT_RESULT:
		reap(worker->pid); /* it has let its lock go before */
		finish(workers, worker, &message.error);
		break;
	}
	return true;
}

/* Set @e to what is known of a worker that has not sent a result. */
static void worker_is_pending(const struct workers *workers, const struct worker *worker,
			      struct error *e)
{
	const char *reason = workers->interrupted ? "interrupted" : "timed out";
	_cleanup_free_ char *holders = vfio_holders(&worker->nodes, getpid());
	_cleanup_free_ char *held = holders ? format("; held by %s", holders)
				    : worker->users
					    ? format("; it was open in %s", worker->users)
					    : copy("");
	_cleanup_free_ char *locker =
		worker->reached < PHASE_LOCKED
			? record_lock_holder(worker->dev, worker->pid)
			: NULL;

	if (locker) {
		error_set(e, STATUS_REFUSED, "%s: locked by %s%s", reason, locker, held);
		error_hint(e, "try again when that process has ended; do not kill it");
	} else if (worker->in_step) {
		error_set(e, may_have_written(worker) ? STATUS_BROKEN : STATUS_REFUSED,
			  "%s: the kernel is not done with: %s", reason, worker->step);
		error_end(e, "%s", held);
		if (may_have_written(worker))
			error_hint(e, "%s when it is; pid %d waits for it",
				   workers->request->command == COMMAND_RELEASE
					   ? "the release is completed"
					   : "the device is put back",
				   worker->pid);
	} else if (may_have_written(worker)) {
		error_set(e, STATUS_BROKEN, "%s: its worker (pid %d) is still at work%s",
			  reason, worker->pid, held);
		error_hint(e, "to see how it ends: vfio-bind list %s/%s",
			   worker->dev->bus, worker->dev->name);
	} else if (holders) {
		vfio_refuse_held(worker->dev, holders, reason, e);
	} else {
		error_set(e, STATUS_REFUSED,
			  "%s: the checks are not done yet: nothing was touched", reason);
	}
}

/* Wait for the worker no longer: tell the user what is known of it. */
static void leave(const struct workers *workers, struct worker *worker)
{
	struct error e = {0};

	/* From here on the worker can neither send nor receive, and given_up() tells it
	 * so. What it has sent before is still read. */
	shutdown(worker->socket, SHUT_RDWR);
	worker->left = true;
	while (worker->socket >= 0 && hear(workers, worker))
		;
	if (worker->socket < 0)
		return;
	worker_is_pending(workers, worker, &e);
	finish(workers, worker, &e);
}

static int start(struct worker *worker, const struct request *request, struct error *e)
{
	pid_t parent_pid = getpid();
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_set(e, STATUS_FAILED, "cannot make a socket: %s",
				 strerror(errno));
	worker->nodes = vfio_nodes_of_group(worker->dev);
	worker->pid = fork();
	if (worker->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* The parent died before the prctl(). */
		if (getppid() != parent_pid)
			_exit(STATUS_FAILED);
		work(worker->dev, request, sockets[1]);
	}
	close(sockets[1]);
	worker->socket = sockets[0];
	if (worker->pid > 0)
		return 0;
	return error_set(e, STATUS_FAILED, "cannot fork: %s", strerror(errno));
}

/* --- groups -------------------------------------------------------------------- */

static bool same_group(const struct worker *a, const struct worker *b)
{
	return a == b || (a->group && streq(a->group, b->group));
}

static bool group_failed(const struct workers *workers, const struct worker *worker)
{
	for (size_t i = 0; i < workers->n; i++) {
		if (same_group(&workers->worker[i], worker) && workers->worker[i].failed)
			return true;
	}
	return false;
}

/* The workers of one IOMMU group lock their devices one after the other, in order: else
 * each of two commands at the group could have a part of the locks. */
static bool may_start(const struct workers *workers, const struct worker *worker)
{
	for (size_t i = 0; &workers->worker[i] != worker; i++) {
		if (same_group(&workers->worker[i], worker) &&
		    workers->worker[i].reached < PHASE_LOCKED)
			return false;
	}
	return true;
}

/* May the parent say GO? Not before all workers of the IOMMU group have ended the phase,
 * nor when one is told to stop. */
static bool may_go(const struct workers *workers, const struct worker *worker)
{
	for (size_t i = 0; i < workers->n; i++) {
		const struct worker *other = &workers->worker[i];

		if (!same_group(other, worker))
			continue;
		if (other->told_to_stop || other->reached < worker->reached)
			return false;
		/* The kernel lets one process open a group: its workers verify in turn.
		 */
		if (worker->reached == PHASE_MOVED && other->allowed == PHASE_MOVED &&
		    other->reached == PHASE_MOVED)
			return false;
	}
	return true;
}

/* Tell the worker. One that cannot be told hears that nothing more comes, and stops. */
static void tell(const struct worker *worker, char word)
{
	if (transmit(worker->socket, &word, 1) < 0)
		shutdown(worker->socket, SHUT_WR);
}

static void tell_stop(struct worker *worker, char word)
{
	if (worker->socket < 0 || worker->allowed == PHASE_DONE)
		return;
	tell(worker, word);
	worker->told_to_stop = true;
}

/* Start each worker, say GO to it or tell it to stop, if it is time for that. */
static void advance(struct workers *workers)
{
	bool ended = false;

	for (size_t i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->worker[i];
		bool failed = group_failed(workers, worker);
		struct error e;

		if (worker->finished)
			continue;
		if (failed && !worker->pid) {
			error_set(&e, STATUS_REFUSED,
				  GROUP_FAILED ": nothing was touched");
			finish(workers, worker, &e);
		} else if (failed && !worker->told_to_stop) {
			tell_stop(worker, STOP_GROUP_FAILED);
		} else if (!worker->pid && may_start(workers, worker)) {
			if (start(worker, workers->request, &e) < 0) {
				finish(workers, worker, &e);
				ended = true;
			}
		} else if (worker->reached > worker->allowed && !worker->told_to_stop &&
			   may_go(workers, worker)) {
			worker->allowed = worker->reached;
			tell(worker, GO);
		}
	}
	if (ended) /* that stops the other workers of its group */
		advance(workers);
}

/* --- the wait ------------------------------------------------------------------ */

/* Returns an fd to read the signals to stop from. They stay blocked until vfio-bind ends:
 * one that comes too late to stop anything must not hide what was done. A signal that
 * vfio-bind was started with as ignored stays ignored. */
static int stop_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		struct sigaction action;

		if (sigaction(signals[i], NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int read_signal(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

/* Tell all workers to stop; on a second signal, wait for them no longer. */
static void interrupt(struct workers *workers, int signal)
{
	bool early = now() < workers->deadline;

	workers->hurry = workers->interrupted;
	workers->interrupted = signal;
	if (early)
		workers->deadline = now();
	for (size_t i = 0; i < workers->n; i++) {
		tell_stop(&workers->worker[i], STOP_INTERRUPTED);
		if (workers->hurry)
			workers->worker[i].give_up_at = now();
		else if (early)
			workers->worker[i].give_up_at = now() + GRACE;
	}
}

/* Wait for a message, a signal, a reader, or until the time of a worker is up. Returns
 * the signal or 0. */
static int wait_for_news(const struct workers *workers, int signals)
{
	size_t n = 0;
	struct pollfd *fds = calloc(workers->n + 1 + OUTPUTS, sizeof(*fds));
	int64_t until = INT64_MAX, wait;
	struct timespec timeout;

	if (!fds)
		abort();
	for (size_t i = 0; i < workers->n; i++) {
		const struct worker *worker = &workers->worker[i];

		if (worker->socket < 0) /* the kernel takes no more than can be open */
			continue;
		fds[n++] = (struct pollfd){.fd = worker->socket, .events = POLLIN};
		if (worker->give_up_at < until)
			until = worker->give_up_at;
	}
	fds[n++] = (struct pollfd){.fd = signals, .events = POLLIN};
	output_poll(&fds[n]);
	wait = until > now() ? until - now() : 0;
	timeout = (struct timespec){.tv_sec = wait / SEC, .tv_nsec = wait % SEC};
	ppoll(fds, n + OUTPUTS, &timeout, NULL);
	free(fds);
	output_write();
	return read_signal(signals);
}

static bool all_finished(const struct workers *workers)
{
	for (size_t i = 0; i < workers->n; i++) {
		if (!workers->worker[i].finished)
			return false;
	}
	return true;
}

/* The worker's time is up. If it waits for GO, or is between two steps, it is not stuck:
 * it is told to stop, and gets GRACE_STEP to send its result. Else it is left. */
static void give_up(const struct workers *workers, struct worker *worker)
{
	bool waits = worker->reached > worker->allowed && !worker->told_to_stop;
	bool stuck = may_have_written(worker) ? worker->in_step : !waits;

	if (!stuck && !worker->given_grace && !workers->hurry) {
		tell_stop(worker, STOP_TIMED_OUT);
		worker->given_grace = true;
		worker->give_up_at = now() + GRACE_STEP;
	} else {
		leave(workers, worker);
	}
}

/* With --force, who uses the devices is not worth a longer wait. */
#define FORCED_LOOK SEC

/* One look at all processes for all devices: who uses them through their host drivers.
 * What it could not see, each worker looks for itself, and tells. */
static int find_holders(const struct request *request, struct holders *holders)
{
	_cleanup_files_ struct file_ids files = {0};
	int64_t until = request->force ? now() + FORCED_LOOK : request->deadline;
	struct error ignored;

	*holders = (struct holders){0};
	if (request->command != COMMAND_HANDOFF)
		return -1;
	for (size_t i = 0; i < request->devices->n; i++)
		usage_files(&request->devices->dev[i], &files);
	return holders_find(&files, until, holders, &ignored) < 0 && !request->force ? -1
										     : 0;
}

static struct workers make_workers(const struct request *request,
				   const struct listener *listener)
{
	const struct devices *devices = request->devices;
	struct workers workers = {
		.worker = calloc(devices->n, sizeof(struct worker)),
		.n = devices->n,
		.request = request,
		.listener = listener,
		.deadline = request->deadline,
	};

	if (!workers.worker)
		abort();
	for (size_t i = 0; i < workers.n; i++)
		workers.worker[i] = (struct worker){
			.dev = &devices->dev[i],
			.socket = -1,
			.give_up_at = request->deadline + GRACE,
			.group = request->command == COMMAND_HANDOFF
					 ? group_number(&devices->dev[i])
					 : NULL,
		};
	return workers;
}

/* Is there an fd for each worker? Else some of an IOMMU group could not be started, while
 * the others wait for them. */
static int check_fds(const struct workers *workers, int signals, struct error *e)
{
	size_t wanted = workers->n + SPARE_FDS, n = 0;
	int *fds = calloc(wanted, sizeof(*fds));

	if (!fds)
		abort();
	while (n < wanted && (fds[n] = fcntl(signals, F_DUPFD_CLOEXEC, 0)) >= 0)
		n++;
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
	if (n == wanted)
		return 0;
	error_set(e, STATUS_REFUSED,
		  "too few files can be open for %zu devices at once: nothing was "
		  "touched",
		  workers->n);
	return error_hint(e, "name fewer devices, or raise 'ulimit -n'");
}

/* Processes are known by their pids, and a worker may have to outlive its parent. */
static int check_processes(struct error *e)
{
	_cleanup_free_ char *self = sysfs_link("/proc", "self");
	_cleanup_free_ char *own = sysfs_link("/proc/self/ns", "pid");
	_cleanup_free_ char *workers = sysfs_link("/proc/self/ns", "pid_for_children");

	/* The last is not there before the first child is. */
	if ((self && atoi(self) != getpid()) || (own && !streq(own, workers))) {
		error_set(e, STATUS_REFUSED,
			  "/proc or its workers would be of another PID namespace: "
			  "nothing was touched");
		return error_hint(e, "unshare needs --fork and --mount-proc");
	}
	if (getpid() == 1 && !sysfs_is_dry_run()) {
		error_set(e, STATUS_REFUSED,
			  "it would be the init of a PID namespace, which ends only when "
			  "its workers do, and kills them: nothing was touched");
		return error_hint(e, "start it from another process there, that stays");
	}
	return 0;
}

/* Start nothing. */
static void refuse_all(const struct workers *workers, const struct error *e)
{
	for (size_t i = 0; i < workers->n; i++)
		finish(workers, &workers->worker[i], e);
}

/* One round: hear what is new, and act on it. */
static void go_on(struct workers *workers, int signals)
{
	int signal = wait_for_news(workers, signals);

	if (signal)
		interrupt(workers, signal);
	for (size_t i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->worker[i];

		while (worker->socket >= 0 && hear(workers, worker))
			;
		if (worker->socket >= 0 && now() >= worker->give_up_at)
			give_up(workers, worker);
	}
	advance(workers);
}

int worker_run(const struct request *request, const struct listener *listener)
{
	_cleanup_holders_ struct holders holders = {0};
	struct request all = *request;
	struct workers workers = make_workers(&all, listener);
	_cleanup_close_ int signals = stop_signals();
	struct error e;

	if (check_processes(&e) < 0 || check_fds(&workers, signals, &e) < 0) {
		refuse_all(&workers, &e);
	} else {
		if (find_holders(request, &holders) == 0)
			all.holders = &holders;
		advance(&workers);
	}
	while (!all_finished(&workers))
		go_on(&workers, signals);
	/* A signal that comes now ends this wait alone. */
	output_finish(workers.deadline, signals);
	for (size_t i = 0; i < workers.n; i++)
		free(workers.worker[i].group);
	free(workers.worker);
	return workers.interrupted;
}
