/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

char *format(const char *fmt, ...)
{
	va_list args;
	char *s;

	va_start(args, fmt);
	if (vasprintf(&s, fmt, args) < 0)
		abort();
	va_end(args);
	return s;
}

char *copy(const char *s)
{
	char *new = s ? strdup(s) : NULL;

	if (s && !new)
		abort();
	return new;
}

void append(char **list, const char *separator, const char *fmt, ...)
{
	_cleanup_free_ char *before = *list, *part = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&part, fmt, args) < 0)
		abort();
	va_end(args);
	*list = format("%s%s%s", before ? before : "", before ? separator : "", part);
}

char *signal_text(int number)
{
	const char *name = sigabbrev_np(number);

	return name ? format("SIG%s", name) : format("signal %d", number);
}

char *shortened(const char *text, size_t max)
{
	return strlen(text) > max ? format("%.*s...", (int)max, text) : copy(text);
}

void *with_room(void *array, size_t n, size_t size)
{
	void *larger = reallocarray(array, n + 1, size);

	if (!larger)
		abort();
	return larger;
}

void names_add(struct names *names, const char *name)
{
	names->name = with_room(names->name, names->n, sizeof(*names->name));
	names->name[names->n++] = copy(name);
}

bool names_have(const struct names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++) {
		if (streq(names->name[i], name))
			return true;
	}
	return false;
}

void names_free(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct names){0};
}

char *names_text(const struct names *names, const char *separator, size_t max)
{
	char *text = NULL;

	for (size_t i = 0; i < names->n; i++) {
		const char *name = names->name[i];
		_cleanup_free_ char *shown = shortened(name, max);

		if (text && strlen(text) + strlen(separator) + strlen(name) > max) {
			append(&text, " ", "and %zu more", names->n - i);
			break;
		}
		append(&text, separator, "%s", shown);
	}
	return text;
}

/* The code point that the UTF-8 at @s begins with, and its size in bytes; or -1: it is no
 * UTF-8 (RFC 3629: neither longer than need be, nor a surrogate, nor above U+10FFFF). */
static int32_t decode(const char *s, size_t *size)
{
	static const int32_t least[] = {0, 0x80, 0x800, 0x10000};
	unsigned char lead = *s;
	size_t more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
	int32_t c = more ? lead & (0x3f >> more) : lead;

	if ((lead >= 0x80 && lead < 0xc0) || lead >= 0xf8)
		return -1;
	for (size_t i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (s[i] & 0x3f);
	}
	*size = more + 1;
	return c < least[more] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? -1 : c;
}

/* Is it a character that stands for nothing but itself? */
static bool is_plain(int32_t c)
{
	return c >= ' ' && (c < 0x7f || c > 0x9f) && (c < 0x2028 || c > 0x202e) &&
	       (c < 0x2066 || c > 0x2069);
}

/* The bytes from @text on that are printable; the rest of it begins there. */
static size_t printable_length(const char *text)
{
	const char *s = text;
	size_t size = 0;

	while (*s && is_plain(decode(s, &size)))
		s += size;
	return s - text;
}

void make_printable(char *text)
{
	for (text += printable_length(text); *text; text += printable_length(text))
		*text++ = '?';
}

const char *unprintable(const char *text)
{
	const char *rest = text + printable_length(text);
	size_t size;

	if (!*rest)
		return NULL;
	return decode(rest, &size) < 0 ? "no UTF-8" : "control character";
}

/* As $'...', with numbers for what is not printable. Three digits: then what follows is
 * no part of it. */
static char *quoted_as_bytes(const char *word)
{
	char *quoted = copy("$'");

	while (*word) {
		size_t plain = printable_length(word);

		for (; plain; plain--, word++)
			append(&quoted, "", "%s%c", strchr("'\\", *word) ? "\\" : "",
			       *word);
		if (*word)
			append(&quoted, "", "\\%03o", (unsigned char)*word++);
	}
	append(&quoted, "", "'");
	return quoted;
}

char *shell_quoted(const char *word)
{
	const char *plain =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.,:/@%+";
	char *quoted;

	if (word[strspn(word, plain)] == '\0')
		return copy(word);
	if (unprintable(word))
		return quoted_as_bytes(word);
	quoted = copy("'");
	for (; *word; word++) {
		char one[] = {*word, '\0'};

		append(&quoted, "", "%s", *word == '\'' ? "'\\''" : one);
	}
	append(&quoted, "", "'");
	return quoted;
}

int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

void sleep_for(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / SEC, .tv_nsec = ns % SEC};

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

int detach(int fd)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	if (null < 0 || chdir("/") < 0)
		_exit(1);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	if (fd != 3 && dup3(fd, 3, O_CLOEXEC) < 0)
		_exit(1);
	closefrom(4);
	return 3;
}

int write_whole(int fd, const char *text)
{
	size_t length = strlen(text);

	errno = ENOSPC; /* for a short write, which sets no errno */
	return write(fd, text, length) == (ssize_t)length ? 0 : -1;
}

/* A child needs no time to speak of to end. */
#define END_TIME_MS 500

void reap(pid_t child)
{
	struct pollfd end = {.fd = pidfd_open(child, 0), .events = POLLIN};

	if (end.fd >= 0) {
		poll(&end, 1, END_TIME_MS);
		close(end.fd);
	}
	waitpid(child, NULL, WNOHANG);
}
