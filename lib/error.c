/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

/* Names come from users and from devices: none may forge a second line. */
static void print(char *to, size_t size, const char *fmt, va_list args)
{
	vsnprintf(to, size, fmt, args);
	for (; *to; to++) {
		if ((unsigned char)*to < ' ' || *to == 0x7f)
			*to = '?';
	}
}

int error_set(struct error *e, enum status status, const char *fmt, ...)
{
	va_list args;

	e->status = status;
	e->hint[0] = '\0';
	va_start(args, fmt);
	print(e->text, sizeof(e->text), fmt, args);
	va_end(args);
	return -1;
}

int error_hint(struct error *e, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	print(e->hint, sizeof(e->hint), fmt, args);
	va_end(args);
	return -1;
}
