// SPDX-License-Identifier: LGPL-2.1-or-later
/* Linked into a coverage build with --wrap=_exit,--wrap=raise: what was executed is
 * written at exit(), but a worker ends by _exit(), and an interrupted command by the
 * signal. */

void __gcov_dump(void);
void __real__exit(int status) __attribute__((noreturn));
void __wrap__exit(int status) __attribute__((noreturn));
int __real_raise(int signal);
int __wrap_raise(int signal);

void __wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}

int __wrap_raise(int signal)
{
	__gcov_dump();
	return __real_raise(signal);
}
