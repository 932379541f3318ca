// SPDX-License-Identifier: LGPL-2.1-or-later
/* kill-at PROCESS change|other CALL COMMAND [ARGUMENT...]
 * kill-at count COMMAND [ARGUMENT...]
 *
 * Runs COMMAND, and kills it and all processes that it has started (SIGKILL) when one of
 * them is about to make its CALLth system call that is a change, or its CALLth other one;
 * that call is not made. PROCESS says which one: 1 is COMMAND itself, 2 the first that
 * was forked, and so on. Counted is from the exec of COMMAND on, or from the fork; and
 * for one process at a time, as the order of the calls of two that run side by side is
 * another one in each run.
 *
 * A change is a call that may change something outside of its process, or tell somebody
 * of something. Between two changes nothing happens that anybody could see: a kill there
 * leaves what a kill right before the second one leaves.
 *
 * It ends when all of them are really gone: one that is in the kernel may take a while.
 * Prints the number of the system call. With "count", nothing is killed, and a line
 * "calls PROCESS CHANGES OTHERS ROLE" is printed for each process; ROLE is "works", or
 * "looks" if it has neither locked nor written anything. Exit status:
 *   0  killed there; or counted, and COMMAND succeeded
 *   1  PROCESS has ended by itself before, and COMMAND succeeded
 *   3  there was no such process, and COMMAND succeeded
 *   2  anything else */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/ptrace.h> /* after the other one */

enum { KILLED, ENDED, FAILED, NO_SUCH_PROCESS };

#define MAX_PROCESSES 64

/* A process that is stuck for ever shall not stop the tests for ever. */
#define SECONDS 120

struct process {
	pid_t pid; /* 0: it has ended */
	bool counted;
	bool works;	     /* it has locked or written something */
	int changes, others; /* calls that it has come to */
};

static struct process processes[MAX_PROCESSES];
static int n_processes;

/* The calls that change nothing outside of their process, whatever their arguments are.
 * One that is not listed is a change: at worst it is killed at for nothing. */
static const unsigned long long harmless[] = {
	SYS_brk,
	SYS_chdir,
	SYS_clock_getres,
	SYS_clock_gettime,
	SYS_clock_nanosleep,
	SYS_dup,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_fstat,
	SYS_fstatfs,
	SYS_futex,
	SYS_getcwd,
	SYS_getdents64,
	SYS_getegid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getpid,
	SYS_getppid,
	SYS_getrandom,
	SYS_getsockname,
	SYS_gettid,
	SYS_gettimeofday,
	SYS_getuid,
	SYS_lseek,
	SYS_madvise,
	SYS_mprotect,
	SYS_mremap,
	SYS_munmap,
	SYS_nanosleep,
	SYS_pipe2,
	SYS_ppoll,
	SYS_pread64,
	SYS_prlimit64,
	SYS_read,
	SYS_readlinkat,
	SYS_readv,
	SYS_recvfrom,
	SYS_recvmsg,
	SYS_restart_syscall,
	SYS_rseq,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_sched_getaffinity,
	SYS_sched_yield,
	SYS_set_robust_list,
	SYS_set_tid_address,
	SYS_sigaltstack,
	SYS_signalfd4,
	SYS_socket,
	SYS_socketpair,
	SYS_statfs,
	SYS_statx,
	SYS_sysinfo,
	SYS_uname,
	SYS_wait4,
	SYS_waitid,
#ifdef SYS_open /* so are these old ones there */
	SYS_access,
	SYS_lstat,
	SYS_poll,
	SYS_readlink,
	SYS_stat,
#endif
#ifdef __x86_64__
	SYS_arch_prctl,
	SYS_mmap,
	SYS_newfstatat,
#endif
#ifdef __arm__
	SYS__llseek,
	SYS_clock_gettime64,
	SYS_clock_nanosleep_time64,
	SYS_fstat64,
	SYS_fstatat64,
	SYS_fstatfs64,
	SYS_futex_time64,
	SYS_getegid32,
	SYS_geteuid32,
	SYS_getgid32,
	SYS_getuid32,
	SYS_lstat64,
	SYS_mmap2,
	SYS_ppoll_time64,
	SYS_recv,
	SYS_stat64,
	SYS_statfs64,
	SYS_ugetrlimit,
	0xf0005, /* __ARM_NR_set_tls, which no header for programs has */
#endif
};

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "kill-at: %s: %s\n", what, strerror(errno));
	exit(FAILED); /* the processes go with their tracer */
}

/* The process's number, in the order in which they came. */
static int number_of(pid_t pid)
{
	for (int i = 0; i < n_processes; i++) {
		if (processes[i].pid == pid)
			return i + 1;
	}
	if (n_processes == MAX_PROCESSES)
		die("too many processes");
	/* The first one is still to become the command. */
	processes[n_processes] = (struct process){.pid = pid, .counted = n_processes > 0};
	return ++n_processes;
}

/* --- what a call does ------------------------------------------------------------ */

static bool opens_to_change(unsigned long long flags)
{
	return (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
}

/* Does anybody notice that the process closes this one? A lock goes, a socket's other end
 * hears of it, VFIO resets a device: all but a lock are open for more than reading. */
static bool close_is_noticed(pid_t pid, int fd)
{
	char path[64], info[1024] = "";
	const char *flags;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0) /* it is not open */
		return false;
	if (read(file, info, sizeof(info) - 1) < 0)
		die(path);
	close(file);
	flags = strstr(info, "flags:");
	return !flags || opens_to_change(strtoull(flags + strlen("flags:"), NULL, 8)) ||
	       strstr(info, "\nlock:");
}

static bool is_change(pid_t pid, const struct __ptrace_syscall_info *info)
{
	unsigned long long call = info->entry.nr;
	const __uint64_t *args = info->entry.args;

	switch (call) {
#ifdef SYS_open
	case SYS_open:
		return opens_to_change(args[1]);
#endif
	case SYS_openat:
		return opens_to_change(args[2]);
	case SYS_close:
		return close_is_noticed(pid, args[0]);
#ifdef SYS_fcntl64
	case SYS_fcntl64:
#endif
	case SYS_fcntl: /* the other commands set locks and the like */
		return args[1] != F_DUPFD && args[1] != F_DUPFD_CLOEXEC &&
		       args[1] != F_GETFD && args[1] != F_SETFD && args[1] != F_GETFL;
	case SYS_prctl:
		return args[0] == PR_SET_PDEATHSIG;
	}
	for (size_t i = 0; i < sizeof(harmless) / sizeof(*harmless); i++) {
		if (call == harmless[i])
			return false;
	}
	return true;
}

/* --- the processes --------------------------------------------------------------- */

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

/* Is the stopped process about to make a system call? */
static bool is_entry(pid_t pid, int status, struct __ptrace_syscall_info *info)
{
	if (WSTOPSIG(status) != (SIGTRAP | 0x80))
		return false;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(*info), info) < 0)
		die("PTRACE_GET_SYSCALL_INFO");
	return info->op == PTRACE_SYSCALL_INFO_ENTRY;
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
		if (processes[i].pid)
			kill(processes[i].pid, SIGKILL);
	}
	while ((pid = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR) {
		if (pid > 0 && WIFSTOPPED(status))
			kill(pid, SIGKILL);
	}
}

/* --- where ----------------------------------------------------------------------- */

/* Where to kill; process 0: nowhere. */
struct point {
	int process;
	bool change;
	int call;
};

/* Note the call that the process comes to, if that is what it has stopped for. Is this
 * the point? */
static bool comes_to(const struct point *point, int number, int status)
{
	struct process *process = &processes[number - 1];
	struct __ptrace_syscall_info info;
	bool change;
	int calls;

	if (!is_entry(process->pid, status, &info))
		return false;
	change = is_change(process->pid, &info);
	process->works |= info.entry.nr == SYS_flock || info.entry.nr == SYS_write;
	calls = change ? ++process->changes : ++process->others;
	if (number != point->process || change != point->change || calls != point->call)
		return false;
	kill_all();
	printf("%llu\n", (unsigned long long)info.entry.nr);
	return true;
}

/* Let them run until they come to the point, or have ended. */
static int run(const struct point *point)
{
	bool succeeded = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int known = n_processes;
		int number = number_of(pid);
		struct process *process = &processes[number - 1];
		bool followed = !point->process || point->process == number;

		if (!WIFSTOPPED(status)) {
			/* Its pid may be used again, by one that is not ours. */
			process->pid = 0;
			if (number == 1)
				succeeded = WIFEXITED(status) && WEXITSTATUS(status) == 0;
			continue;
		}
		if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
			process->counted = true;
		if (comes_to(point, number, status))
			return KILLED;
		/* ESRCH: it was killed meanwhile. */
		if (ptrace(followed && process->counted ? PTRACE_SYSCALL : PTRACE_CONT,
			   pid, 0, signal_of(status, number > known)) < 0 &&
		    errno != ESRCH)
			die("ptrace");
	}
	if (!succeeded)
		return FAILED;
	return n_processes < point->process ? NO_SUCH_PROCESS : ENDED;
}

static int count(char **command)
{
	int status;

	start(command);
	status = run(&(struct point){0});
	for (int i = 0; i < n_processes; i++)
		printf("calls %d %d %d %s\n", i + 1, processes[i].changes,
		       processes[i].others, processes[i].works ? "works" : "looks");
	return status == ENDED ? KILLED : FAILED;
}

int main(int argc, char **argv)
{
	struct point point;

	alarm(SECONDS);
	stay_here();
	if (argc > 2 && strcmp(argv[1], "count") == 0)
		return count(argv + 2);
	point.process = argc > 4 ? atoi(argv[1]) : 0;
	point.change = argc > 4 && strcmp(argv[2], "change") == 0;
	point.call = argc > 4 ? atoi(argv[3]) : 0;
	if (point.process < 1 || point.call < 1 ||
	    (!point.change && strcmp(argv[2], "other") != 0)) {
		fprintf(stderr,
			"usage: kill-at PROCESS change|other CALL COMMAND [ARGUMENT...]\n"
			"       kill-at count COMMAND [ARGUMENT...]\n");
		return FAILED;
	}
	start(argv + 4);
	return run(&point);
}
