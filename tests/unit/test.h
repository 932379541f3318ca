/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the unit tests print: TAP, as bats does. */
#pragma once

#include "../../lib/util.h"

#include <stdarg.h>
#include <stdio.h>

static int test_number, test_failures;
static bool test_failed; /* the one that runs now */

/* The test that runs now fails: say why, the first few times. */
static inline void __attribute__((format(printf, 1, 2))) fail(const char *fmt, ...)
{
	va_list args;

	test_failed = true;
	if (++test_failures > 10)
		return;
	printf("# ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

#define CHECK(condition)                                                                 \
	do {                                                                             \
		if (!(condition))                                                        \
			fail("%s:%d: not so: %s", __FILE__, __LINE__, #condition);       \
	} while (0)

/* Ends a test: everything since the one before was about @name. */
static inline void ok(const char *name)
{
	printf("%sok %d %s\n", test_failed ? "not " : "", ++test_number, name);
	test_failed = false;
}

/* The number of tests comes last. Returns main()'s status. */
static inline int done(void)
{
	printf("1..%d\n", test_number);
	return test_failures != 0;
}
