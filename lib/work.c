/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "work.h"
#include "command.h"
#include "lease.h"
#include "message.h"
#include "sysfs.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <syslog.h>

static int to_parent = -1;	/* the worker's end of the socket */
static int64_t deadline;	/* monotonic ns */
static const char *stop_reason; /* why this worker gives up; NULL: it does not */
static struct lessee lessee = {-1, 0};
static const char *command; /* of the lease: its name */

/* Returns 0, or -EPIPE if the parent hears no more: the worker goes on then; may_pass()
 * and given_up() see to that. One that cannot send although the parent hears gives up:
 * the parent learns of its status as the worker ends. */
static int say(const struct message *message)
{
	int err = message_send(to_parent, message, sizeof(*message));

	if (err < 0 && err != -EPIPE && !stop_reason)
		stop_reason = "its worker cannot be heard";
	return err;
}

/* Returns false if the parent is there and does not hear it. */
static bool say_phase(enum phase phase)
{
	int err = say(&(struct message){.what = WHAT_PHASE, .phase = phase});

	return err == 0 || err == -EPIPE;
}

static void say_text(enum what what, const char *text)
{
	struct message message = {.what = what};

	error_set(&message.error, STATUS_DONE, "%s", text);
	say(&message);
}

/* A line for a root shell must be whole, and can be longer than a message: a flag may
 * have as much as a page. */
static void say_step(const char *line)
{
	struct message part = {.what = WHAT_PART};
	size_t room = sizeof(part.error.text) - 1;

	for (; strlen(line) > room; line += room) {
		memcpy(part.error.text, line, room);
		say(&part);
	}
	part.what = WHAT_STEP;
	strcpy(part.error.text, line);
	say(&part);
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

static void say_held(const char *holders)
{
	say_text(WHAT_HELD, holders);
}

/* Note why the parent tells this worker to stop; @word is any but GO. */
static void hear_stop(char word)
{
	stop_reason = word == STOP_GROUP_FAILED	  ? GROUP_FAILED
		      : word == STOP_LEASE_FAILED ? LEASE_FAILED
		      : word == STOP_NO_COMMAND	  ? "COMMAND cannot be started"
		      : word == STOP_TIMED_OUT	  ? "timed out"
		      : word == STOP_UNHEARD ? "its worker cannot hear what it is told"
					     : "interrupted";
}

static const char *given_up(void)
{
	char word = STOP_INTERRUPTED; /* also when the parent has closed its end */
	ssize_t n;

	if (stop_reason)
		return stop_reason;
	n = recv(to_parent, &word, 1, MSG_DONTWAIT);
	if (n >= 0 || errno == ECONNRESET)
		hear_stop(word);
	else if (errno != EAGAIN && errno != EINTR)
		hear_stop(STOP_UNHEARD);
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
	char word;

	if (phase != PHASE_LOCKED && given_up())
		return false;
	say_phase(phase);
	if (stop_reason)
		return false;
	word = message_hear(to_parent, &lessee);
	if (word == GO && phase == PHASE_DONE && command && lessee.pidfd < 0 &&
	    !sysfs_is_dry_run()) /* no fd more could be opened */
		word = STOP_UNHEARD;
	if (word != GO) /* also when the parent has closed its end */
		hear_stop(word);
	else if (phase == PHASE_READY)
		prctl(PR_SET_PDEATHSIG, 0);
	/* With the lock, even a worker whose time is up goes on to the checks: they tell
	 * who holds the device. */
	return !stop_reason || (phase == PHASE_LOCKED && word == STOP_TIMED_OUT);
}

static bool pass(enum phase phase)
{
	(void)phase;
	return true;
}

static const char *never_given_up(void)
{
	return NULL;
}

static const struct supervisor *keep(const struct device *dev, int lock)
{
	static const struct supervisor of_release = {pass, never_given_up, say_warning,
						     say_users, NULL};

	/* COMMAND starts when the parent has heard it of all workers. */
	if (!sysfs_is_dry_run() && say_phase(PHASE_KEPT))
		lease_keep(dev, lock, &lessee, command, say_held);
	say_phase(PHASE_OVER);
	return &of_release;
}

/* Nobody else is left to be told how it has ended. */
static void tell_log(const struct device *dev, const struct error *e)
{
	openlog("vfio-bind", LOG_PID, LOG_DAEMON);
	if (e->status == STATUS_DONE)
		syslog(LOG_NOTICE, "%s: released", dev->name);
	else
		syslog(e->status == STATUS_BROKEN ? LOG_ERR : LOG_NOTICE, "%s: %s%s%s",
		       dev->name, e->text, *e->hint ? "; " : "", e->hint);
}

static int run(const struct device *dev, const struct request *request, bool resumes,
	       struct error *e)
{
	static const struct supervisor supervisor = {may_pass, given_up, say_warning,
						     say_users, keep};

	if (!resumes)
		return command_run(dev, request, &supervisor, e);
	/* The parent told of COMMAND before it made this worker. */
	message_hear(to_parent, &lessee);
	return lessee.pidfd < 0
		       ? error_set(e, STATUS_BROKEN, "its worker cannot hear of COMMAND")
		       : command_resume(dev, request, &supervisor, e);
}

void work(const struct device *dev, const struct request *request, bool resumes,
	  int socket)
{
	static const struct sysfs_listener listener = {say_step, say_ended};
	struct message result = {.what = WHAT_RESULT};
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	to_parent = detach(socket);
	deadline = request->deadline;
	command = request->lease ? request->lease->argv[0] : NULL;
	sysfs_listen(&listener);
	if (run(dev, request, resumes, &result.error) == 0)
		result.error = (struct error){0};
	if (say(&result) == -EPIPE)
		tell_log(dev, &result.error);
	_exit(result.error.status);
}
