// SPDX-License-Identifier: LGPL-2.1-or-later
/* kill-at PROCESS CALL COMMAND [ARGUMENT...]
 *
 * Runs COMMAND, and kills it and all processes that it has started (SIGKILL) when one of
 * them is about to make its CALLth system call, which is not made. PROCESS says which
 * one: 1 is COMMAND itself, 2 the first that was forked, and so on. Counted is from the
 * exec of COMMAND on, or from the fork; and for one process at a time, as the order of
 * the calls of two that run side by side is another one in each run.
 *
 * It ends when all of them are really gone: one that is in the kernel may take a while.
 * Prints the number of the system call. Exit status:
 *   0  killed there
 *   1  PROCESS has ended by itself before, and COMMAND succeeded
 *   3  there was no such process, and COMMAND succeeded
 *   2  anything else */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h> /* after the other one */

enum { KILLED, ENDED, FAILED, NO_SUCH_PROCESS };

#define MAX_PROCESSES 64

/* A process that is stuck for ever shall not stop the tests for ever. */
#define SECONDS 120

static pid_t processes[MAX_PROCESSES];
static int n_processes;

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "kill-at: %s: %s\n", what, strerror(errno));
	exit(FAILED); /* the processes go with their tracer */
}

/* The process's number, in the order in which they came. */
static int number_of(pid_t pid)
{
	for (int i = 0; i < n_processes; i++) {
		if (processes[i] == pid)
			return i + 1;
	}
	if (n_processes == MAX_PROCESSES)
		die("too many processes");
	processes[n_processes++] = pid;
	return n_processes;
}

/* All on this one CPU. On two, the kernel waits a timer tick at each stop until the
 * process has left its own (wait_task_inactive), which takes a hundred times as long. */
static void stay_here(void)
{
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	if (sched_setaffinity(0, sizeof(here), &here) < 0)
		die("sched_setaffinity");
}

static void start(char **command)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
			die("PTRACE_TRACEME");
		raise(SIGSTOP);
		execvp(command[0], command);
		die(command[0]);
	}
	number_of(pid);
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		die("the command did not start");
	if (ptrace(PTRACE_SETOPTIONS, pid, 0,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL) <
		    0 ||
	    ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		die("ptrace");
}

/* Is the stopped process about to make a system call? *@call is which one. */
static bool is_entry(pid_t pid, int status, unsigned long long *call)
{
	struct __ptrace_syscall_info info;

	if (WSTOPSIG(status) != (SIGTRAP | 0x80))
		return false;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) < 0)
		die("PTRACE_GET_SYSCALL_INFO");
	*call = info.entry.nr;
	return info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

/* The signal that a stop keeps from the process: not those that only mean the stop. */
static int signal_of(int status, bool first)
{
	int signal = WSTOPSIG(status);

	if (signal == (SIGTRAP | 0x80) || status >> 16 || (first && signal == SIGSTOP))
		return 0;
	return signal;
}

/* Kill them all at once, and wait until they are gone; also one that was just being
 * forked. They share this CPU, and get none of it until the last one is killed: a worker
 * that saw its parent go first would be killed in the middle of its undo. */
static void kill_all(void)
{
	const struct sched_param alone = {.sched_priority = 1};
	int status;
	pid_t pid;

	if (sched_setscheduler(0, SCHED_FIFO, &alone) < 0)
		die("sched_setscheduler");
	for (int i = 0; i < n_processes; i++) {
		if (processes[i])
			kill(processes[i], SIGKILL);
	}
	while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		if (pid > 0 && WIFSTOPPED(status))
			kill(pid, SIGKILL);
	}
}

int main(int argc, char **argv)
{
	int process = argc > 3 ? atoi(argv[1]) : 0;
	int at = argc > 3 ? atoi(argv[2]) : 0;
	bool succeeded = false, counting = process > 1;
	unsigned long long call;
	int calls = 0, status;
	pid_t pid;

	if (process < 1 || at < 1) {
		fprintf(stderr, "usage: kill-at PROCESS CALL COMMAND [ARGUMENT...]\n");
		return FAILED;
	}
	alarm(SECONDS);
	stay_here();
	start(argv + 3);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int known = n_processes;
		int number = number_of(pid);

		if (!WIFSTOPPED(status)) {
			/* Its pid may be used again, by one that is not ours. */
			processes[number - 1] = 0;
			if (number == 1)
				succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
			continue;
		}
		if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
			counting = true;
		if (number == process && is_entry(pid, status, &call) && ++calls == at) {
			kill_all();
			printf("%llu\n", call);
			return KILLED;
		}
		/* ESRCH: it was killed meanwhile. */
		if (ptrace(number == process && counting ? PTRACE_SYSCALL : PTRACE_CONT,
			   pid, 0, signal_of(status, number > known)) < 0 &&
		    errno != ESRCH)
			die("ptrace");
	}
	if (!succeeded)
		return FAILED;
	return n_processes < process ? NO_SUCH_PROCESS : ENDED;
}
