/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

static const char cut[] = "...";

/* Names come from users and from devices: none may forge a second line. */
static void print(char *to, size_t size, const char *fmt, va_list args)
{
	if (vsnprintf(to, size, fmt, args) >= (int)size)
		strcpy(to + size - sizeof(cut), cut);
	make_printable(to);
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

int error_end(struct error *e, const char *fmt, ...)
{
	char end[sizeof(e->text) / 2];
	size_t room = sizeof(e->text), length = strlen(e->text);
	va_list args;

	va_start(args, fmt);
	print(end, sizeof(end), fmt, args);
	va_end(args);
	if (length + strlen(end) >= room) {
		length = room - strlen(end) - sizeof(cut);
		strcpy(e->text + length, cut);
		make_printable(e->text); /* a character may be cut */
		length += strlen(cut);
	}
	strcpy(e->text + length, end);
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
