/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A unit test: a main() full of ok() that ends with "return done();". Prints TAP. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static unsigned int tests, failures;

/* Count a test, named as by printf. Returns whether it holds. */
static inline bool __attribute__((format(printf, 2, 3)))
ok(bool holds, const char *name, ...)
{
	va_list args;

	printf("%sok %u ", holds ? "" : "not ", ++tests);
	va_start(args, name);
	vprintf(name, args);
	va_end(args);
	putchar('\n');
	failures += !holds;
	return holds;
}

/* Are both the same text, or both NULL? What it is and what it should be is said. */
static inline bool same(const char *is, const char *expected, const char *name)
{
	bool holds = is && expected ? strcmp(is, expected) == 0 : is == expected;

	ok(holds, "%s", name);
	if (!holds)
		printf("# it is: %s\n# and not: %s\n", is ? is : "(NULL)",
		       expected ? expected : "(NULL)");
	return holds;
}

/* The condition is its own name. */
#define CHECK(condition) ok((condition), "%s:%d: %s", __FILE__, __LINE__, #condition)

/* Of a test that looks many times: what is not so is said, the first few times. */
static unsigned int complaints;

static inline void __attribute__((format(printf, 1, 2))) complain(const char *what, ...)
{
	va_list args;

	if (++complaints > 10)
		return;
	printf("# ");
	va_start(args, what);
	vprintf(what, args);
	va_end(args);
	putchar('\n');
}

#define EXPECT(condition)                                                                \
	do {                                                                             \
		if (!(condition))                                                        \
			complain("%s:%d: not so: %s", __FILE__, __LINE__, #condition);   \
	} while (0)

/* No complaint since the last call of it? For ok(). */
static inline bool content(void)
{
	bool holds = complaints == 0;

	complaints = 0;
	return holds;
}

/* The plan, and main()'s status. */
static inline int done(void)
{
	printf("1..%u\n", tests);
	return failures > 0;
}
