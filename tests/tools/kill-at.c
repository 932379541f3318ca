// SPDX-License-Identifier: LGPL-2.1-or-later
/* kill-at PROCESS change|other CALL COMMAND [ARGUMENT...]
 * kill-at PROCESS fail:ERRNO|signal:NAME|signals:NAME|start:SCRIPT CALL COMMAND
 * [ARGUMENT...] kill-at count|list COMMAND [ARGUMENT...]
 *
 * Runs COMMAND, and does something when one of its processes is about to make its CALLth
 * system call. PROCESS says which one: 1 is COMMAND itself, 2 the first that was forked,
 * and so on. Counted is from the exec of COMMAND on, or from the fork; and for one
 * process at a time, as the order of the calls of two that run side by side is another
 * one in each run.
 *
 * Of all but a change and another one, CALL can also be NUMBER:N, the Nth of the calls
 * with that number: the process is not stopped at the others, which takes longer than
 * most calls.
 *
 * change, other: kill COMMAND and all processes that it has started (SIGKILL), when it
 * comes to its CALLth call that is a change, or its CALLth other one; that call is not
 * made. A change is a call that may change something outside of its process, or tell
 * somebody of something. Between two changes nothing happens that anybody could see: a
 * kill there leaves what a kill right before the second one leaves.
 *
 * fail:ERRNO: that call fails with that, as EIO. It is not made; but a close is, as Linux
 * closes what it fails to close. brk has no errno: it moves nothing. A call that does not
 * return cannot fail. On x86-64 only.
 *
 * signal:NAME: that signal, as TERM, is sent to COMMAND, and to PROCESS. signals:NAME:
 * and once more, when COMMAND comes to its first call after it has taken the first one.
 *
 * start:SCRIPT: sh runs SCRIPT from then on, side by side with COMMAND, on any processor.
 * wait:SCRIPT: the call is made when SCRIPT has ended. leave:SCRIPT: so it is, and from
 * then on kill-at has nothing to do with PROCESS, whose pid SCRIPT finds in KILL_AT_PID;
 * only so it can be stopped.
 *
 * It ends when all of them are really gone: one that is in the kernel may take a while.
 * For each process that died of a signal, it prints "died PROCESS SIGNAL"; and at its end
 * "call NUMBER", that of the system call, if it was come to. With "count", nothing is
 * done, and a line "calls PROCESS CHANGES OTHERS ROLE" is printed for each process; ROLE
 * is "works", or "looks" if it has neither locked nor written anything. With "list", one
 * more: "numbers PROCESS NUMBER...", of all its calls in their order.
 *
 * Exit status of change, other, count and list:
 *   0  killed there; or counted, and COMMAND succeeded
 *   1  PROCESS has ended by itself before, and COMMAND succeeded
 *   3  there was no such process, and COMMAND succeeded
 *   2  anything else
 * Of the others: COMMAND's, or 128 and the signal it died of. 125: kill-at itself failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/ptrace.h> /* after the other one */
#include <linux/seccomp.h>

enum { KILLED, ENDED, FAILED, NO_SUCH_PROCESS };

/* Of kill-at itself, where the status is COMMAND's. */
#define FAILED_ITSELF 125

#define MAX_PROCESSES 64

/* A process that is stuck for ever shall not stop the tests for ever. */
#define SECONDS 120

struct process {
	pid_t pid; /* 0: it has ended */
	bool counted;
	bool works;	     /* it has locked or written something */
	int changes, others; /* calls that it has come to */
	int *numbers;	     /* of these calls, for "list" */
	int of_number;	     /* how many of them had the point's number */
};

static struct process processes[MAX_PROCESSES];
static int n_processes;
static int failed = FAILED; /* the status if kill-at cannot go on */

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
	exit(failed); /* the processes go with their tracer */
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
	ssize_t n;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0) /* it is not open */
		return false;
	n = read(file, info, sizeof(info) - 1);
	if (n < 0 && errno != ENOENT)
		die(path);
	close(file);
	if (n < 0) /* somebody has killed the process meanwhile */
		return false;
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

/* --- stops at some calls only ---------------------------------------------------- */

/* A stop takes longer than most calls. So where only changes count, the kernel is told
 * which calls cannot be one, and stops at the others alone; and at those of one number,
 * where only these count. */
static bool filtered;

#define ANY_NUMBER (-1)

static bool can_filter(void)
{
	__u32 action = SECCOMP_RET_TRACE;

	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

#define ANSWER(action) (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, action)
/* Go on with the next one if so, else pass over the next N. */
#define IF_EQUAL(value, n)                                                               \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, n)
#define IF_NONE_OF(bits, n)                                                              \
	(struct sock_filter) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, n, 0)

/* Of the call, as it is at this offset of struct seccomp_data. */
static struct sock_filter load(size_t offset)
{
	return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}

/* Lets pass a call that opens a file for reading, with its flags in this argument.
 * Returns what is next. */
static struct sock_filter *pass_readers(struct sock_filter *next, __u32 call, int flags)
{
	*next++ = IF_EQUAL(call, 4);
	*next++ = load(offsetof(struct seccomp_data, args) + flags * sizeof(__u64));
	*next++ = IF_NONE_OF(O_ACCMODE | O_CREAT | O_TRUNC, 1);
	*next++ = ANSWER(SECCOMP_RET_ALLOW);
	*next++ = ANSWER(SECCOMP_RET_TRACE);
	return next;
}

#define N_HARMLESS (sizeof(harmless) / sizeof(*harmless))

/* Returns what is next. */
static struct sock_filter *stop_at_changes(struct sock_filter *next)
{
	for (size_t i = 0; i < N_HARMLESS; i++) {
		*next++ = IF_EQUAL(harmless[i], 1);
		*next++ = ANSWER(SECCOMP_RET_ALLOW);
	}
#ifdef SYS_open
	next = pass_readers(next, SYS_open, 1);
#endif
	next = pass_readers(next, SYS_openat, 2);
	*next++ = ANSWER(SECCOMP_RET_TRACE);
	return next;
}

static struct sock_filter *stop_at_number(struct sock_filter *next, int number)
{
	*next++ = IF_EQUAL(number, 1);
	*next++ = ANSWER(SECCOMP_RET_TRACE);
	*next++ = ANSWER(SECCOMP_RET_ALLOW);
	return next;
}

/* Of this process, and of all that come from it: stop at the calls with that number, or
 * at those that may be a change. On a little-endian machine. */
static void filter_calls(int number)
{
	struct sock_filter filter[1 + 2 * N_HARMLESS + 2 * 5 + 1], *next = filter;
	struct sock_fprog program = {.filter = filter};

	*next++ = load(offsetof(struct seccomp_data, nr));
	next = number == ANY_NUMBER ? stop_at_changes(next)
				    : stop_at_number(next, number);
	program.len = next - filter;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		die("seccomp");
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

/* @number: of the point's call, if the kernel is told at what to stop. */
static void start(char **command, int number)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, 0, 0) < 0)
			die("PTRACE_TRACEME");
		raise(SIGSTOP);
		if (filtered)
			filter_calls(number);
		execvp(command[0], command);
		die(command[0]);
	}
	number_of(pid);
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		die("the command did not start");
	if (ptrace(PTRACE_SETOPTIONS, pid, 0,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
			   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
			   PTRACE_O_TRACESECCOMP | PTRACE_O_EXITKILL) < 0 ||
	    ptrace(PTRACE_CONT, pid, 0, 0) < 0)
		die("ptrace");
}

/* Is the stopped process about to make a system call? */
static bool is_entry(pid_t pid, int status, struct __ptrace_syscall_info *info)
{
	if (WSTOPSIG(status) != (SIGTRAP | 0x80) &&
	    status >> 8 != (SIGTRAP | (PTRACE_EVENT_SECCOMP << 8)))
		return false;
	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(*info), info) < 0) {
		if (errno == ESRCH) /* it was killed meanwhile */
			return false;
		die("PTRACE_GET_SYSCALL_INFO");
	}
	/* Of both, number and arguments are at the same place. */
	return info->op == PTRACE_SYSCALL_INFO_ENTRY ||
	       info->op == PTRACE_SYSCALL_INFO_SECCOMP;
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

/* --- where, and what is done there ------------------------------------------------- */

enum action { NOTHING, KILL_AT_CHANGE, KILL_AT_OTHER, FAIL, SIGNAL, START, WAIT, LEAVE };

struct point {
	enum action action;
	int process, call;
	int call_number;    /* only calls with that are counted; or ANY_NUMBER */
	int number;	    /* an errno or a signal */
	bool again;	    /* the signal is to be sent a second time */
	const char *script; /* of START, WAIT and LEAVE */
	pid_t script_pid;
	long long came_to; /* the number of the system call; -1: not there yet */
	bool failing;	   /* the call is being made, and has to fail */
	long asked_break;  /* by a brk that fails */
};

static void send_signal(const struct point *point, int process)
{
	pid_t pid = processes[process - 1].pid;

	if (pid && kill(pid, point->number) < 0)
		die("kill");
}

/* Has COMMAND taken the signal that it was sent? */
static bool signal_is_taken(const struct point *point)
{
	char path[64], status[4096] = "";
	const char *pending;
	int file;

	snprintf(path, sizeof(path), "/proc/%d/status", processes[0].pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0 || read(file, status, sizeof(status) - 1) < 0)
		die(path);
	close(file);
	pending = strstr(status, "ShdPnd:");
	return pending &&
	       !(strtoull(pending + strlen("ShdPnd:"), NULL, 16) >> (point->number - 1) &
		 1);
}

/* Beside COMMAND, and not on its processor alone. */
static void start_script(struct point *point, pid_t pid)
{
	char text[16];
	cpu_set_t all;

	point->script_pid = fork();
	if (point->script_pid < 0)
		die("fork");
	if (point->script_pid > 0)
		return;
	memset(&all, 0xff, sizeof(all));
	if (sched_setaffinity(0, sizeof(all), &all) < 0)
		die("sched_setaffinity");
	snprintf(text, sizeof(text), "%d", pid);
	setenv("KILL_AT_PID", text, 1);
	execl("/bin/sh", "sh", "-c", point->script, NULL);
	die("/bin/sh");
}

#ifdef __x86_64__
#define OFFSET(name) offsetof(struct user_regs_struct, name)

static void poke(pid_t pid, size_t offset, long value)
{
	if (ptrace(PTRACE_POKEUSER, pid, offset, value) < 0)
		die("PTRACE_POKEUSER");
}

/* Before the call. Returns whether there is something to be done behind it, too. */
static bool fail_call(struct point *point, pid_t pid)
{
	switch (point->came_to) {
	case SYS_exit_group:
	case SYS_exit:
	case SYS_rt_sigreturn:
		return false;
	case SYS_brk: /* asks where it is */
		errno = 0;
		point->asked_break = ptrace(PTRACE_PEEKUSER, pid, OFFSET(rdi), 0);
		if (errno)
			die("PTRACE_PEEKUSER");
		poke(pid, OFFSET(rdi), 0);
		return true;
	case SYS_close:
		return true;
	default:
		poke(pid, OFFSET(orig_rax), -1);
		return true;
	}
}

/* Behind the call. A process relies on that the kernel leaves it the argument. */
static void answer(const struct point *point, pid_t pid)
{
	if (point->came_to == SYS_brk)
		poke(pid, OFFSET(rdi), point->asked_break);
	else
		poke(pid, OFFSET(rax), -point->number);
}
#else
static bool fail_call(struct point *point, pid_t pid)
{
	(void)point, (void)pid;
	errno = ENOSYS;
	die("fail");
}

static void answer(const struct point *point, pid_t pid)
{
	(void)point, (void)pid;
}
#endif

/* The process has come to the point. */
static void act(struct point *point, const struct process *process, long long call)
{
	point->came_to = call;
	switch (point->action) {
	case NOTHING:
		break;
	case KILL_AT_CHANGE:
	case KILL_AT_OTHER:
		kill_all();
		break;
	case FAIL:
		point->failing = fail_call(point, process->pid);
		break;
	case SIGNAL:
		send_signal(point, 1);
		if (point->process != 1)
			send_signal(point, point->process);
		break;
	case START:
		start_script(point, process->pid);
		break;
	case WAIT:
	case LEAVE:
		start_script(point, process->pid);
		if (waitpid(point->script_pid, NULL, 0) < 0)
			die("waitpid");
		break;
	}
}

static bool kills(const struct point *point)
{
	return point->action == KILL_AT_CHANGE || point->action == KILL_AT_OTHER;
}

static void keep_number(struct process *process, int number)
{
	int n = process->changes + process->others;

	process->numbers = reallocarray(process->numbers, n, sizeof(int));
	if (!process->numbers)
		die("memory");
	process->numbers[n - 1] = number;
}

/* Note the call that the process comes to, if that is what it has stopped for, and act if
 * it is the point. */
static void note(struct point *point, int number, int status)
{
	struct process *process = &processes[number - 1];
	struct __ptrace_syscall_info info;
	bool change;
	int calls;

	if (!process->counted)
		return;
	if (!is_entry(process->pid, status, &info)) {
		if (point->failing && number == point->process &&
		    WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			answer(point, process->pid);
			point->failing = false;
		}
		return;
	}
	/* That takes a while, and only a kill asks for it. */
	change = (point->action == NOTHING || kills(point)) &&
		 is_change(process->pid, &info);
	process->works |= info.entry.nr == SYS_flock || info.entry.nr == SYS_write;
	calls = change ? ++process->changes : ++process->others;
	if (point->action == NOTHING)
		keep_number(process, info.entry.nr);
	if (point->came_to >= 0 && point->again && number == 1 &&
	    signal_is_taken(point)) {
		point->again = false;
		send_signal(point, 1);
	}
	if (number != point->process || point->came_to >= 0)
		return;
	if (kills(point)) {
		if (change != (point->action == KILL_AT_CHANGE))
			return;
	} else if (point->call_number == ANY_NUMBER) {
		calls = process->changes + process->others;
	} else if (info.entry.nr != (unsigned int)point->call_number) {
		return;
	} else {
		calls = ++process->of_number;
	}
	if (calls == point->call)
		act(point, process, info.entry.nr);
}

/* Is something still to be seen of the calls of this process? */
static bool is_followed(const struct point *point, int number)
{
	if (point->action == NOTHING)
		return true;
	if (number == point->process && point->failing)
		return true;
	if (number == 1 && point->again && point->came_to >= 0)
		return true;
	/* Filtered, it stops by itself. */
	return !filtered && number == point->process && point->came_to < 0;
}

static void leave(struct process *process)
{
	if (ptrace(PTRACE_DETACH, process->pid, 0, 0) < 0)
		die("PTRACE_DETACH");
	process->pid = 0;
}

/* Let them run until they are killed at the point, or have ended. Returns the status that
 * COMMAND has ended with, as of waitpid(). */
static int run(struct point *point)
{
	int status, result = 0;
	pid_t pid;

	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int known = n_processes, number;
		struct process *process;

		if (pid == point->script_pid)
			continue;
		number = number_of(pid);
		process = &processes[number - 1];
		if (!WIFSTOPPED(status)) {
			/* Its pid may be used again, by one that is not ours. */
			process->pid = 0;
			if (WIFSIGNALED(status))
				printf("died %d %s\n", number,
				       sigabbrev_np(WTERMSIG(status)));
			if (number == 1)
				result = status;
			continue;
		}
		if (status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8)))
			process->counted = true;
		note(point, number, status);
		if (kills(point) && point->came_to >= 0)
			break;
		if (point->action == LEAVE && point->came_to >= 0 &&
		    number == point->process) {
			leave(process);
			continue;
		}
		/* ESRCH: it was killed meanwhile. */
		if (ptrace(process->counted && is_followed(point, number) ? PTRACE_SYSCALL
									  : PTRACE_CONT,
			   pid, 0, signal_of(status, number > known)) < 0 &&
		    errno != ESRCH)
			die("ptrace");
	}
	if (point->came_to >= 0)
		printf("call %lld\n", point->came_to);
	return result;
}

static void print_numbers(int number)
{
	const struct process *process = &processes[number - 1];

	printf("numbers %d", number);
	for (int i = 0; i < process->changes + process->others; i++)
		printf(" %d", process->numbers[i]);
	putchar('\n');
}

static int count(char **command, bool list)
{
	int status;

	start(command, ANY_NUMBER);
	status = run(&(struct point){.came_to = -1});
	for (int i = 0; i < n_processes; i++) {
		printf("calls %d %d %d %s\n", i + 1, processes[i].changes,
		       processes[i].others, processes[i].works ? "works" : "looks");
		if (list)
			print_numbers(i + 1);
	}
	return status == 0 ? KILLED : FAILED;
}

/* What kill-at's own status is, from COMMAND's. */
static int result_of(const struct point *point, int status)
{
	if (!kills(point))
		return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (point->came_to >= 0)
		return KILLED;
	if (status != 0)
		return FAILED;
	return n_processes < point->process ? NO_SUCH_PROCESS : ENDED;
}

/* The number with this name, which @name_of gives; 0: there is none. */
static int number_named(const char *name, const char *(*name_of)(int number))
{
	for (int i = 1; i < 128; i++) {
		const char *found = name_of(i);

		if (found && strcmp(found, name) == 0)
			return i;
	}
	return 0;
}

/* The action, as it is named on the command line. */
static void parse_action(struct point *point, const char *name)
{
	const char *rest = strchr(name, ':');

	if (strcmp(name, "change") == 0 || strcmp(name, "other") == 0) {
		point->action = *name == 'c' ? KILL_AT_CHANGE : KILL_AT_OTHER;
		return;
	}
	failed = FAILED_ITSELF;
	if (!rest++)
		return;
	if (strncmp(name, "fail:", strlen("fail:")) == 0) {
		point->number = number_named(rest, strerrorname_np);
		point->action = point->number ? FAIL : NOTHING;
	} else if (strncmp(name, "signal", strlen("signal")) == 0) {
		point->number = number_named(rest, sigabbrev_np);
		point->action = point->number ? SIGNAL : NOTHING;
		point->again = name[strlen("signal")] == 's';
	} else {
		point->script = rest;
		point->action = strncmp(name, "start:", strlen("start:")) == 0 ? START
				: strncmp(name, "wait:", strlen("wait:")) == 0 ? WAIT
				: strncmp(name, "leave:", strlen("leave:")) == 0
					? LEAVE
					: NOTHING;
	}
}

/* CALL or NUMBER:N. */
static void parse_call(struct point *point, const char *text)
{
	const char *n = strchr(text, ':');

	point->call = atoi(n ? n + 1 : text);
	point->call_number = n ? atoi(text) : ANY_NUMBER;
}

int main(int argc, char **argv)
{
	struct point point = {.came_to = -1, .call_number = ANY_NUMBER};

	alarm(SECONDS);
	stay_here();
	if (argc > 2 && strcmp(argv[1], "count") == 0)
		return count(argv + 2, false);
	if (argc > 2 && strcmp(argv[1], "list") == 0)
		return count(argv + 2, true);
	if (argc > 4) {
		point.process = atoi(argv[1]);
		parse_call(&point, argv[3]);
		parse_action(&point, argv[2]);
	}
	if (point.process < 1 || point.call < 1 || point.action == NOTHING) {
		fprintf(stderr,
			"usage: kill-at PROCESS ACTION CALL COMMAND [ARGUMENT...]\n"
			"       kill-at count|list COMMAND [ARGUMENT...]\n"
			"ACTION: change, other, fail:ERRNO, signal:NAME, signals:NAME, "
			"start:SCRIPT,\n"
			"        wait:SCRIPT, leave:SCRIPT\n");
		return failed;
	}
	filtered = (point.action == KILL_AT_CHANGE || point.call_number != ANY_NUMBER) &&
		   can_filter();
	start(argv + 4, point.call_number);
	return result_of(&point, run(&point));
}
