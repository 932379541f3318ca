/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "output.h"

#include <errno.h>
#include <signal.h>
#include <sys/time.h>

static struct output {
	struct names kept;
	size_t next; /* of the kept ones, the first that is not written yet */
	size_t done; /* bytes of it that are */
	int error;   /* errno, or 0 */
	bool used;   /* something was written */
} outputs[OUTPUTS] = {0};

static struct output *output_of(int fd)
{
	return &outputs[fd - STDOUT_FILENO];
}

static void ring(int number)
{
	(void)number;
}

/* As write(2), but EINTR or a part if the reader is not ready: poll() knows it only if
 * nobody else writes to the same pipe, and O_NONBLOCK would hold for them, too. The timer
 * rings again, should it have rung before the write began. */
static ssize_t write_in_time(int fd, const char *text, size_t size)
{
	const struct itimerval often = {{0, 10000}, {0, 10000}}, never = {0};
	const struct sigaction interrupts = {.sa_handler = ring};
	sigset_t alarm;
	ssize_t n;
	int error;

	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigaction(SIGALRM, &interrupts, NULL);
	sigprocmask(SIG_UNBLOCK, &alarm, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	n = write(fd, text, size);
	error = errno;
	setitimer(ITIMER_REAL, &never, NULL);
	errno = error;
	return n;
}

/* Write what can be of the first kept lines. False: the reader is not ready. */
static bool write_next(struct output *output, int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLOUT};
	const char *rest = output->kept.name[output->next] + output->done;
	ssize_t n;

	if (poll(&ready, 1, 0) == 0)
		return false;
	n = write_in_time(fd, rest, strlen(rest));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return false;
	if (n < 0)
		output->error = errno;
	output->done += n < 0 ? 0 : n;
	output->used |= n > 0;
	if (n < 0 || (size_t)n == strlen(rest)) {
		output->done = 0;
		output->next++;
	}
	return true;
}

void output_write(void)
{
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		struct output *output = output_of(fd);

		while (output->next < output->kept.n && write_next(output, fd))
			;
	}
}

void output_add(int fd, const char *lines)
{
	names_add(&output_of(fd)->kept, lines);
	output_write();
}

void output_last(const char *line, int ms)
{
	struct pollfd reader = {.fd = STDERR_FILENO, .events = POLLOUT};

	signal(SIGPIPE, SIG_IGN);
	if (poll(&reader, 1, ms) > 0)
		IGNORE(write(STDERR_FILENO, line, strlen(line)));
}

bool output_poll(struct pollfd fds[OUTPUTS])
{
	bool any = false;

	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		bool kept = output_of(fd)->next < output_of(fd)->kept.n;

		fds[fd - STDOUT_FILENO] =
			(struct pollfd){.fd = kept ? fd : -1, .events = POLLOUT};
		any |= kept;
	}
	return any;
}

void output_finish(int64_t deadline, int signals)
{
	struct pollfd fds[OUTPUTS + 1] = {0};

	output_write();
	while (output_poll(fds) && now() < deadline && !fds[OUTPUTS].revents) {
		int64_t left = deadline - now();
		/* More would be too much for a time_t of 32 bits. */
		int64_t wait = left < 1000 * SEC ? left : 1000 * SEC;
		struct timespec timeout = {wait / SEC, wait % SEC};

		fds[OUTPUTS] = (struct pollfd){.fd = signals, .events = POLLIN};
		if (wait > 0)
			ppoll(fds, OUTPUTS + 1, &timeout, NULL);
		output_write();
	}
	for (size_t i = 0; i < OUTPUTS; i++) {
		if (outputs[i].next < outputs[i].kept.n)
			outputs[i].error = ETIMEDOUT;
		names_free(&outputs[i].kept);
		outputs[i] = (struct output){.error = outputs[i].error,
					     .used = outputs[i].used};
	}
}

int output_error(int fd)
{
	return output_of(fd)->error;
}

bool output_used(int fd)
{
	return output_of(fd)->used;
}
