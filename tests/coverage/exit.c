// SPDX-License-Identifier: LGPL-2.1-or-later
/* Linked into a coverage build with --wrap=_exit,--wrap=raise,--wrap=kill: what was
 * executed is written at exit(), but a worker ends by _exit(), and an interrupted command
 * by the signal. And what is cut off, by a limit of the size or as it is written, takes
 * the data of all others along. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child that is killed when it has told all gets so long to write. */
#define TRIES 1000
#define PAUSE_US 1000

void __gcov_dump(void);
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));
int __real_raise(int signal);
int __wrap_raise(int signal);
int __real_kill(pid_t pid, int signal);
int __wrap_kill(pid_t pid, int signal);

/* One whose files may not grow writes nothing, nor complains of that. A destructor of
 * libgcov writes, later than this one. */
static void __attribute__((destructor)) spare_data(void)
{
	struct rlimit size;

	if (getrlimit(RLIMIT_FSIZE, &size) < 0 || size.rlim_cur == RLIM_INFINITY)
		return;
	setenv("GCOV_PREFIX", "/dev/null", 1);
	dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
}

void __wrap__exit(int status)
{
	spare_data();
	__gcov_dump();
	__real__exit(status);
}

int __wrap_raise(int signal)
{
	spare_data();
	__gcov_dump();
	return __real_raise(signal);
}

int __wrap_kill(pid_t pid, int signal)
{
	for (int i = 0; signal == SIGKILL && i < TRIES; i++) {
		siginfo_t end = {0};

		if (waitid(P_PID, pid, &end, WEXITED | WNOHANG | WNOWAIT) < 0 ||
		    end.si_pid)
			break;
		usleep(PAUSE_US);
	}
	return __real_kill(pid, signal);
}
