/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker.h"
#include "group.h"
#include "lease.h"
#include "message.h"
#include "output.h"
#include "record.h"
#include "sysfs.h"
#include "usage.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* A worker that is not stuck gets this long more, and so much again for each step (of an
 * undo, say) that it begins after the deadline. */
#define GRACE_STEP (5 * SEC)

/* So long, at most, the parent looks who holds what is still at work then: no process
 * that takes long to look into keeps it. */
#define PENDING_LOOK SEC

/* Beside a socket for each worker, the parent has so many files open at once, at most:
 * the other end of a socket, and what it takes to look who holds a device. */
#define SPARE_FDS 4
/* For a lease: COMMAND's pidfd and both ends of its gate. */
#define LEASE_FDS 3

struct worker {
	const struct device *dev;
	char *group; /* IOMMU group number: all workers of one group get there, or none;
			NULL: this device stands alone */
	char *users; /* who uses the device through its host driver, before the unbind; or
			who holds it after COMMAND's end; NULL: nobody that is known */
	struct vfio_nodes nodes; /* read before the worker starts: the unbind removes
				    them, but what a holder has open keeps their number */
	pid_t pid;		 /* 0: not started */
	int socket;		 /* -1: not started, or finished */
	enum phase reached;	 /* the last phase that the worker has ended */
	enum phase allowed;	 /* the last one that it got GO for */
	bool told_to_stop;
	bool given_grace; /* GRACE_STEP more, as its time was up and it was not stuck */
	bool left;	  /* the parent waits for the worker no longer */
	bool finished;	  /* the user has been told how the worker ended */
	bool failed;	  /* finished, and with an error */
	bool resumed;	  /* it has taken a lease over from a worker that was killed */
	bool in_step;	  /* the kernel has not answered the last step yet */
	char *step;	  /* the last step, as a line for a root shell; NULL: none yet */
	char *parts;	  /* of the line of the next step, what has come; NULL: nothing */
	int64_t give_up_at; /* monotonic ns */
};

struct workers {
	struct worker *worker;
	size_t n;
	const struct request *request;
	const struct listener *listener;
	int64_t deadline;  /* monotonic ns: the request's, that of the release at the end
			      of a lease, or when a signal came */
	int interrupted;   /* the last signal to stop that came, or 0 */
	bool cannot_start; /* COMMAND: a worker does not know of it */
	bool gate_is_closed; /* COMMAND of a lease waits for its start */
	bool hurry;	    /* a second signal has come: the parent waits for no worker */
	int64_t look_until; /* monotonic ns: for those whose time is up in this round, the
			       parent looks so long who holds their devices */
};

/* --- a worker --------------------------------------------------------------- */

/* May the worker have written below /sys? */
static bool may_have_written(const struct worker *worker)
{
	return worker->allowed >= PHASE_READY && !sysfs_is_dry_run();
}

/* Does the worker keep the device for COMMAND, or for who holds it after that? */
static bool is_leased(const struct workers *workers, const struct worker *worker)
{
	return workers->request->lease && worker->allowed >= PHASE_DONE &&
	       worker->allowed < PHASE_OVER && !sysfs_is_dry_run();
}

static bool is_releasing(const struct workers *workers, const struct worker *worker)
{
	return workers->request->command == COMMAND_RELEASE ||
	       worker->reached == PHASE_OVER;
}

static int start(struct worker *worker, const struct request *request, struct error *e)
{
	pid_t parent_pid = getpid();
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0)
		return error_set(e, STATUS_FAILED, "cannot make a socket: %s",
				 strerror(errno));
	/* Before the fork: then the worker has it, whoever is killed. */
	if (worker->resumed && message_tell_lease(sockets[0], request->lease) < 0) {
		close(sockets[0]);
		close(sockets[1]);
		return error_set(e, STATUS_FAILED, "it cannot be told of COMMAND");
	}
	worker->nodes = vfio_nodes_of_group(worker->dev);
	worker->pid = fork();
	if (worker->pid == 0) {
		if (!worker->resumed) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			/* The parent died before the prctl(). */
			if (getppid() != parent_pid)
				_exit(STATUS_FAILED);
		}
		work(worker->dev, request, worker->resumed, sockets[1]);
	}
	close(sockets[1]);
	worker->socket = sockets[0];
	if (worker->pid > 0)
		return 0;
	return error_set(e, STATUS_FAILED, "cannot fork: %s", strerror(errno));
}

static void finish(const struct workers *workers, struct worker *worker,
		   const struct error *result)
{
	struct error e = *result;

	/* Whatever the hint says could be done with it cannot be done any more. */
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

/* --- what it tells ---------------------------------------------------------- */

/* A worker of a lease was killed: another one takes over. Once, as what killed one may
 * kill all. Returns whether there is one. */
static bool resume(const struct workers *workers, struct worker *worker, struct error *e)
{
	struct error failed, warning;

	if (!workers->request->lease || worker->allowed < PHASE_DONE ||
	    e->status != STATUS_BROKEN || worker->resumed || workers->interrupted)
		return false;
	close(worker->socket);
	worker->socket = -1;
	vfio_nodes_clear(&worker->nodes);
	free(worker->parts);
	worker->parts = NULL;
	worker->resumed = true;
	worker->allowed = PHASE_DONE;
	worker->reached = PHASE_NONE;
	worker->in_step = false;
	worker->give_up_at = INT64_MAX;
	if (start(worker, workers->request, &failed) < 0) {
		error_end(e, "; no other one can take over the lease: %s", failed.text);
		return false;
	}
	error_set(&warning, STATUS_DONE, "%s: another one (pid %d) takes over the lease",
		  e->text, worker->pid);
	workers->listener->warning(worker->dev, &warning);
	return true;
}

static void tell_death(const struct worker *worker, int signal_number, enum status status,
		       struct error *e)
{
	_cleanup_free_ char *by = signal_text(signal_number);

	error_set(e, status, "its worker (pid %d) was killed by %s", worker->pid, by);
}

/* Set @e to how the worker ended of which no result came. Nobody knows if SIGCHLD is
 * ignored. Where one takes over, the one before it has moved the device. */
static void tell_end(const struct worker *worker, struct error *e)
{
	enum status unknown = may_have_written(worker) ? STATUS_BROKEN : STATUS_FAILED;
	int end;

	if (waitpid(worker->pid, &end, 0) < 0)
		error_set(e, unknown, "its worker (pid %d) has ended without a word",
			  worker->pid);
	else if (WIFSIGNALED(end))
		tell_death(worker, WTERMSIG(end), unknown, e);
	else if (WEXITSTATUS(end) != STATUS_DONE)
		error_set(e, worker->resumed ? STATUS_BROKEN : WEXITSTATUS(end),
			  "its worker (pid %d) could not tell what went wrong",
			  worker->pid);
}

/* The worker has ended without a result. */
static void hear_death(const struct workers *workers, struct worker *worker)
{
	_cleanup_free_ char *word = device_word(worker->dev);
	struct error e = {0};

	tell_end(worker, &e);
	if (e.status == STATUS_BROKEN)
		error_hint(&e, "to put it back: vfio-bind release %s%s",
			   workers->request->boot ? "--boot " : "", word);
	if (!resume(workers, worker, &e))
		finish(workers, worker, &e);
}

static void hear_held(const struct workers *workers, struct worker *worker,
		      const char *holders)
{
	struct error e;

	free(worker->users);
	worker->users = copy(holders);
	error_set(&e, STATUS_DONE, "COMMAND has ended, but %s holds it: waiting",
		  holders);
	workers->listener->note(worker->dev, &e);
}

/* The release at the end of a lease has a time of its own. */
static void hear_phase(struct workers *workers, struct worker *worker, enum phase phase)
{
	worker->reached = phase;
	if (phase > PHASE_DONE) /* it waits for no GO */
		worker->allowed = phase;
	if (phase != PHASE_OVER || workers->interrupted)
		return;
	workers->deadline = now() + workers->request->timeout;
	worker->give_up_at = workers->deadline + GRACE;
}

static void hear_step(const struct workers *workers, struct worker *worker,
		      const char *end)
{
	char *line;

	append(&worker->parts, "", "%s", end);
	line = worker->parts;
	worker->parts = NULL;
	make_printable(line);
	/* Behind a pin, the lines are those of a file: it writes that, and stays. */
	worker->in_step = worker->allowed < PHASE_DONE || is_releasing(workers, worker);
	if (streq(worker->step, line)) { /* a deferred probe that is tried again: the user
					    has heard of it */
		free(line);
		return;
	}
	free(worker->step);
	worker->step = line;
	if (now() >= workers->deadline && !workers->hurry)
		worker->give_up_at = now() + GRACE_STEP;
	workers->listener->step(worker->step);
}

static void act_on(struct workers *workers, struct worker *worker,
		   const struct message *message)
{
	switch (message->what) {
	case WHAT_PHASE:
		hear_phase(workers, worker, message->phase);
		break;
	case WHAT_PART:
		append(&worker->parts, "", "%s", message->error.text);
		break;
	case WHAT_STEP:
		hear_step(workers, worker, message->error.text);
		break;
	case WHAT_ENDED:
		worker->in_step = false;
		break;
	case WHAT_WARNING:
		workers->listener->warning(worker->dev, &message->error);
		break;
	case WHAT_USERS:
		free(worker->users);
		worker->users = copy(message->error.text);
		break;
	case WHAT_HELD:
		hear_held(workers, worker, message->error.text);
		break;
	case WHAT_RESULT:
		reap(worker->pid); /* it has let its lock go before */
		finish(workers, worker, &message->error);
		break;
	}
}

/* Take one message of the worker, and act on it. False: there is none now. */
static bool hear(struct workers *workers, struct worker *worker)
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
	if (n == sizeof(message))
		act_on(workers, worker, &message);
	else
		hear_death(workers, worker);
	return true;
}

/* --- groups and leases ------------------------------------------------------ */

static bool same_group(const struct worker *a, const struct worker *b)
{
	return a == b || (a->group && streq(a->group, b->group));
}

/* Do they get there both, or none? */
static bool same_set(const struct workers *workers, const struct worker *a,
		     const struct worker *b)
{
	return workers->request->lease || same_group(a, b);
}

static bool set_failed(const struct workers *workers, const struct worker *worker)
{
	for (size_t i = 0; i < workers->n; i++) {
		if (same_set(workers, &workers->worker[i], worker) &&
		    workers->worker[i].failed && worker->allowed < PHASE_DONE)
			return true;
	}
	return false;
}

/* The workers of one set lock their devices one after the other, in order: else
 * each of two commands at the set could have a part of the locks. */
static bool may_start(const struct workers *workers, const struct worker *worker)
{
	for (size_t i = 0; &workers->worker[i] != worker; i++) {
		if (same_set(workers, &workers->worker[i], worker) &&
		    workers->worker[i].reached < PHASE_LOCKED)
			return false;
	}
	return true;
}

/* May the parent say GO? Not before all workers of the set have ended the phase,
 * nor when one is told to stop. */
static bool may_go(const struct workers *workers, const struct worker *worker)
{
	for (size_t i = 0; i < workers->n; i++) {
		const struct worker *other = &workers->worker[i];

		if (!same_set(workers, other, worker))
			continue;
		if (other->told_to_stop || other->reached < worker->reached)
			return false;
		/* The kernel lets one process open a group: its workers verify in turn.
		 */
		if (same_group(other, worker) && worker->reached == PHASE_MOVED &&
		    other->allowed == PHASE_MOVED && other->reached == PHASE_MOVED)
			return false;
	}
	return true;
}

/* Tell the worker. One that cannot be told hears that nothing more comes, and stops. */
static void tell(const struct worker *worker, char word)
{
	if (message_send(worker->socket, &word, 1) < 0)
		shutdown(worker->socket, SHUT_WR);
}

static void tell_stop(struct worker *worker, char word)
{
	if (worker->socket < 0 || worker->allowed >= PHASE_DONE)
		return;
	tell(worker, word);
	worker->told_to_stop = true;
}

/* Say GO to a worker, and what COMMAND is. Returns false if it cannot be told: it hears
 * that nothing more comes. */
static bool tell_of_command(const struct lease *lease, const struct worker *worker)
{
	if (message_tell_lease(worker->socket, lease) == 0)
		return true;
	shutdown(worker->socket, SHUT_WR);
	return false;
}

/* All devices of the lease are ready. COMMAND waits at its gate until each worker
 * knows it: whoever is killed then, they see its end. */
static int lease_to_command(struct workers *workers, struct error *e)
{
	struct lease *lease = workers->request->lease;

	if (!sysfs_is_dry_run() && lease_fork(lease, e) < 0)
		return -1;
	for (size_t i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->worker[i];

		worker->allowed = PHASE_DONE;
		worker->give_up_at = INT64_MAX;
		if (sysfs_is_dry_run()) {
			tell(worker, GO);
			continue;
		}
		vfio_nodes_clear(&worker->nodes);
		worker->nodes = vfio_nodes_of_group(worker->dev);
		if (!tell_of_command(lease, worker) && !workers->cannot_start) {
			workers->cannot_start = true;
			error_set(e, STATUS_FAILED,
				  "cannot start COMMAND: a worker cannot be told");
			workers->listener->failure(e);
		}
	}
	workers->deadline = INT64_MAX;
	workers->gate_is_closed = !sysfs_is_dry_run();
	return 0;
}

/* Should there be no COMMAND to go on with, all devices go back. */
static void begin_lease(struct workers *workers)
{
	_cleanup_free_ char *line = lease_line(workers->request->lease);
	struct error e;

	if (lease_to_command(workers, &e) == 0) {
		workers->listener->step(line);
		return;
	}
	workers->listener->failure(&e);
	for (size_t i = 0; i < workers->n; i++)
		tell_stop(&workers->worker[i], STOP_NO_COMMAND);
}

/* Start each worker, say GO to it or tell it to stop, if it is time for that. */
static void advance(struct workers *workers)
{
	bool ended = false;

	for (size_t i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->worker[i];
		bool failed = set_failed(workers, worker);
		struct error e;

		if (worker->finished)
			continue;
		if (failed && !worker->pid) {
			error_set(&e, STATUS_REFUSED, "%s: nothing was touched",
				  workers->request->lease ? LEASE_FAILED : GROUP_FAILED);
			finish(workers, worker, &e);
		} else if (failed && !worker->told_to_stop) {
			tell_stop(worker, workers->request->lease ? STOP_LEASE_FAILED
								  : STOP_GROUP_FAILED);
		} else if (!worker->pid && may_start(workers, worker)) {
			if (start(worker, workers->request, &e) < 0) {
				finish(workers, worker, &e);
				ended = true;
			}
		} else if (worker->reached > worker->allowed && !worker->told_to_stop &&
			   may_go(workers, worker)) {
			if (workers->request->lease && worker->reached == PHASE_DONE) {
				begin_lease(workers);
				return;
			}
			worker->allowed = worker->reached;
			tell(worker, GO);
		}
	}
	if (ended) /* that stops the other workers of its group */
		advance(workers);
}

/* --- its time is up --------------------------------------------------------- */

/* Set @e to that the worker waits for the lock of its device: who has it. */
static void lock_is_taken(const char *reason, const char *taker, const char *held,
			  struct error *e)
{
	error_set(e, STATUS_REFUSED, "%s: %s%s", reason, taker, held);
	error_hint(e, starts_with(taker, "leased")
			      ? "it is released when COMMAND of that lease ends"
			      : "try again when that process has ended; do not kill it");
}

/* Set @e to that the worker is in the kernel: at which step, and what follows it. */
static void step_is_pending(const struct workers *workers, const struct worker *worker,
			    const char *reason, const char *held, struct error *e)
{
	bool written = may_have_written(worker);

	error_set(e, written ? STATUS_BROKEN : STATUS_REFUSED,
		  "%s: the kernel is not done with: %s", reason, worker->step);
	error_end(e, "%s", held);
	if (written)
		error_hint(e, "%s when it is; pid %d waits for it",
			   is_releasing(workers, worker) ? "the release is completed"
							 : "the device is put back",
			   worker->pid);
}

/* Set @e to what is known of a worker that has not sent a result. */
static void worker_is_pending(const struct workers *workers, const struct worker *worker,
			      struct error *e)
{
	const char *reason = workers->interrupted ? "interrupted" : "timed out";
	_cleanup_free_ char *holders = vfio_holders(&worker->nodes, workers->look_until);
	_cleanup_free_ char *held = holders ? format("; held by %s", holders)
				    : worker->users
					    ? format("; it was open in %s", worker->users)
					    : copy("");
	_cleanup_free_ char *word = device_word(worker->dev);
	_cleanup_free_ char *taker = worker->reached < PHASE_LOCKED
					     ? record_lock_taker(worker->dev, worker->pid)
					     : NULL;

	if (taker) {
		lock_is_taken(reason, taker, held, e);
	} else if (is_leased(workers, worker)) {
		error_set(e, STATUS_BROKEN, "%s: COMMAND %s%s", reason,
			  workers->request->lease->started ? "has ended"
							   : "was not started",
			  held);
		error_hint(e,
			   *held ? "it is released when that process ends; pid %d "
				   "waits for it"
				 : "pid %d releases it",
			   worker->pid);
	} else if (worker->in_step) {
		step_is_pending(workers, worker, reason, held, e);
	} else if (may_have_written(worker)) {
		error_set(e, STATUS_BROKEN, "%s: its worker (pid %d) is still at work%s",
			  reason, worker->pid, held);
		error_hint(e, "to see how it ends: vfio-bind list %s", word);
	} else if (holders) {
		vfio_refuse_held(worker->dev, holders, reason, e);
	} else {
		error_set(e, STATUS_REFUSED,
			  "%s: the checks are not done yet: nothing was touched", reason);
	}
}

/* Wait for the worker no longer: tell the user what is known of it. */
static void leave(struct workers *workers, struct worker *worker)
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

/* The worker's time is up. If it waits for GO, or is between two steps, it is not stuck:
 * it is told to stop, and gets GRACE_STEP to send its result. Else it is left. */
static void give_up(struct workers *workers, struct worker *worker)
{
	bool waits = worker->reached > worker->allowed && !worker->told_to_stop;
	bool stuck = is_leased(workers, worker) ? true
		     : may_have_written(worker) ? worker->in_step
						: !waits;

	if (!stuck && !worker->given_grace && !workers->hurry) {
		tell_stop(worker, STOP_TIMED_OUT);
		worker->given_grace = true;
		worker->give_up_at = now() + GRACE_STEP;
	} else {
		leave(workers, worker);
	}
}

/* --- before the workers ----------------------------------------------------- */

/* A signal that vfio-bind was started with as ignored stays ignored. */
static int stop_signals(const struct request *request)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
	size_t n = ARRAY_SIZE(signals) - (request->lease ? 0 : 2);
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < n; i++) {
		struct sigaction action;

		if (sigaction(signals[i], NULL, &action) == 0 &&
		    action.sa_handler != SIG_IGN)
			sigaddset(&set, signals[i]);
	}
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int worker_block_signals(const struct request *request)
{
	static const int let_through[] = {SIGTSTP, SIGTTIN, SIGTTOU, SIGCHLD, SIGPIPE};
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(let_through); i++)
		sigdelset(&set, let_through[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return stop_signals(request);
}

/* Is there an fd for each worker? Else some of an IOMMU group could not be started, while
 * the others wait for them. */
static int check_fds(const struct request *request, int signals, struct error *e)
{
	size_t devices = request->devices->n;
	size_t wanted = devices + SPARE_FDS + (request->lease ? LEASE_FDS : 0);
	size_t n = 0;
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
		  devices);
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

int worker_check(const struct request *request, int signals, struct error *e)
{
	return check_processes(e) < 0 ? -1 : check_fds(request, signals, e);
}

/* With --force, who uses the devices is not worth a longer wait. */
#define FORCED_LOOK SEC

/* One look at all processes for all devices: who uses them through their host drivers.
 * What it could not see, each worker looks for itself, and tells. A signal ends it. */
static int find_holders(const struct request *request, int signals,
			struct holders *holders)
{
	_cleanup_files_ struct file_ids files = {0};
	int64_t until = request->force ? now() + FORCED_LOOK : request->deadline;
	struct error ignored;
	int result = 0;

	*holders = (struct holders){0};
	if (request->command != COMMAND_HANDOFF)
		return -1;
	for (size_t i = 0; i < request->devices->n && result == 0; i++)
		result = usage_files(&request->devices->dev[i], &files);
	if (holders_find(&files, until, signals, holders, &ignored) < 0)
		result = -1;
	return request->force ? 0 : result;
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

/* --- the wait --------------------------------------------------------------- */

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
		else if (early || is_leased(workers, &workers->worker[i]))
			workers->worker[i].give_up_at = now() + GRACE;
	}
}

/* More would be too much for a time_t of 32 bits. */
#define LONGEST_WAIT (1000 * SEC)

/* Wait for a message, a signal, a reader, COMMAND's end, or until the time of a
 * worker is up. */
static void wait_for_news(const struct workers *workers, int signals)
{
	const struct lease *lease = workers->request->lease;
	size_t n = 0;
	struct pollfd *fds = calloc(workers->n + 2 + OUTPUTS, sizeof(*fds));
	int64_t until = now() + LONGEST_WAIT, wait;
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
	if (lease && lease->running)
		fds[n++] = (struct pollfd){.fd = lease->pidfd, .events = POLLIN};
	output_poll(&fds[n]);
	wait = until > now() ? until - now() : 0;
	timeout = (struct timespec){.tv_sec = wait / SEC, .tv_nsec = wait % SEC};
	ppoll(fds, n + OUTPUTS, &timeout, NULL);
	free(fds);
	output_write();
}

/* Act on the signals that have come: COMMAND gets them while it runs. */
static void take_signals(struct workers *workers, int signals)
{
	const struct lease *lease = workers->request->lease;
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info)) {
		if (lease && lease->started && lease->running)
			lease_forward(lease, &info);
		else
			interrupt(workers, (int)info.ssi_signo);
	}
}

/* Do all workers keep their devices for COMMAND? Should one have ended, as it says,
 * COMMAND cannot start. */
static bool all_keep(struct workers *workers)
{
	for (size_t i = 0; i < workers->n; i++) {
		const struct worker *worker = &workers->worker[i];

		if (worker->finished)
			workers->cannot_start = true;
		else if (worker->reached < PHASE_KEPT)
			return false;
	}
	return true;
}

/* COMMAND can start, unless a signal has come before it was forked, which only
 * the parent got. */
static void open_gate(struct workers *workers, int signals)
{
	struct lease *lease = workers->request->lease;
	struct error e;
	int err;

	if (!workers->gate_is_closed || !all_keep(workers))
		return;
	workers->gate_is_closed = false;
	take_signals(workers, signals);
	err = lease_open(lease, !workers->interrupted && !workers->cannot_start);
	if (err == 0)
		return;
	error_set(&e, STATUS_FAILED, "cannot start COMMAND: %s",
		  err == -EPIPE ? "its process has ended" : strerror(-err));
	workers->listener->failure(&e);
}

static bool all_finished(const struct workers *workers)
{
	for (size_t i = 0; i < workers->n; i++) {
		if (!workers->worker[i].finished)
			return false;
	}
	return true;
}

/* One round: hear what is new, and act on it. */
static void go_on(struct workers *workers, int signals)
{
	wait_for_news(workers, signals);
	take_signals(workers, signals);
	workers->look_until = now() + PENDING_LOOK;
	if (workers->request->lease)
		lease_look(workers->request->lease);
	for (size_t i = 0; i < workers->n; i++) {
		struct worker *worker = &workers->worker[i];

		while (worker->socket >= 0 && hear(workers, worker))
			;
		if (worker->socket >= 0 && now() >= worker->give_up_at)
			give_up(workers, worker);
	}
	advance(workers);
	open_gate(workers, signals);
}

int worker_run(const struct request *request, const struct listener *listener,
	       int signals)
{
	_cleanup_holders_ struct holders holders = {0};
	struct request all = *request;
	struct workers workers = make_workers(&all, listener);

	if (find_holders(request, signals, &holders) == 0)
		all.holders = &holders;
	advance(&workers);
	while (!all_finished(&workers) || (request->lease && request->lease->running))
		go_on(&workers, signals);
	/* Of a lease that no worker is left to release. */
	if (workers.deadline == INT64_MAX)
		workers.deadline = now() + request->timeout;
	/* A signal that comes now ends this wait alone. */
	output_finish(workers.deadline, signals);
	for (size_t i = 0; i < workers.n; i++) {
		free(workers.worker[i].group);
		free(workers.worker[i].step);
		free(workers.worker[i].parts);
	}
	free(workers.worker);
	return workers.interrupted;
}
