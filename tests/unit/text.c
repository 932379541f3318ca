/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Strings: those that are built, those that are said, and those that the kernel gives. */
#include "../../lib/device.h"
#include "test.h"

static void test_format(void)
{
	_cleanup_free_ char *text = format("%s-%d", "a", 7);
	_cleanup_free_ char *empty = format("%s", "");
	_cleanup_free_ char *again = copy(text);

	same(text, "a-7", "format");
	same(empty, "", "format: nothing");
	same(again, "a-7", "copy");
	CHECK(again != text);
	CHECK(copy(NULL) == NULL);
	CHECK(streq(NULL, NULL) && streq("a", "a"));
	CHECK(!streq(NULL, "") && !streq("", NULL) && !streq("a", "A"));
	CHECK(starts_with("abc", "ab") && starts_with("abc", "abc") &&
	      starts_with("abc", ""));
	CHECK(!starts_with("abc", "b") && !starts_with("ab", "abc"));
}

static void test_append(void)
{
	_cleanup_free_ char *list = NULL;
	_cleanup_free_ char *empty = NULL;

	append(&list, ", ", "%d", 1);
	same(list, "1", "append to none: no separator");
	append(&list, ", ", "%s", "two");
	append(&list, " and ", "three");
	same(list, "1, two and three", "append");
	append(&empty, ",", "%s", "");
	append(&empty, ",", "%s", "");
	same(empty, ",", "append to what is empty, but there");
}

static void test_names(void)
{
	struct names names = {0};
	char name[] = "one";

	CHECK(!names_have(&names, "one"));
	names_add(&names, name);
	name[0] = 'O'; /* it has a copy */
	names_add(&names, "two");
	names_add(&names, "two");
	CHECK(names.n == 3);
	CHECK(names_have(&names, "one") && names_have(&names, "two"));
	CHECK(!names_have(&names, "One") && !names_have(&names, "tw") &&
	      !names_have(&names, ""));
	names_free(&names);
	CHECK(names.n == 0 && names.name == NULL);
}

/* A message is one line, whatever is in the names. */
static void test_error(void)
{
	char all[256], long_text[2000];
	struct error e;
	size_t n = 0;

	for (int c = 1; c < 256; c++)
		all[n++] = (char)c;
	all[n] = '\0';
	CHECK(error_set(&e, STATUS_REFUSED, "%s", all) == -1);
	CHECK(e.status == STATUS_REFUSED && strlen(e.text) == 255);
	n = 0;
	for (int c = 1; c < 256; c++)
		n += e.text[c - 1] == (c < ' ' || c == 0x7f ? '?' : (char)c);
	CHECK(n == 255); /* control characters as "?", UTF-8 as it is */
	same(e.hint, "", "no hint");

	CHECK(error_hint(&e, "a\nb\x1b%d", 1) == -1);
	same(e.hint, "a?b?1", "control characters in a hint");
	CHECK(e.status == STATUS_REFUSED);
	error_set(&e, STATUS_FAILED, "again");
	same(e.hint, "", "error_set drops the hint");
	same(e.text, "again", "error_set: a shorter text");

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	error_set(&e, STATUS_BROKEN, "%s", long_text);
	error_hint(&e, "%s", long_text);
	CHECK(strlen(e.text) == sizeof(e.text) - 1);
	CHECK(strlen(e.hint) == sizeof(e.hint) - 1);
	CHECK(e.status == STATUS_BROKEN);
}

/* An unset flag reads "(null)" or empty. */
static void test_override(void)
{
	_cleanup_free_ char *none = device_flag_value(copy("none"));
	_cleanup_free_ char *blank = device_flag_value(copy(" "));
	_cleanup_free_ char *longer = device_flag_value(copy("(null)x"));

	same(none, "none", "a flag");
	same(blank, " ", "a flag of one blank");
	same(longer, "(null)x", "a flag that begins as none does");
	CHECK(device_flag_value(copy("(null)")) == NULL);
	CHECK(device_flag_value(copy("")) == NULL);
	CHECK(device_flag_value(NULL) == NULL);
}

int main(void)
{
	test_format();
	test_append();
	test_names();
	test_error();
	test_override();
	return done();
}
