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
		n += e.text[c - 1] == (c < ' ' || c >= 0x7f ? '?' : (char)c);
	CHECK(n == 255); /* control characters as "?", and what is no UTF-8 */
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
	same(e.text + sizeof(e.text) - 5, "x...", "what is cut says so");
	same(e.hint + sizeof(e.hint) - 5, "x...", "so does a hint");
	CHECK(e.status == STATUS_BROKEN);

	error_end(&e, "; it is now %s", "on\nx");
	CHECK(strlen(e.text) == sizeof(e.text) - 1);
	same(e.text + sizeof(e.text) - 1 - strlen("xx...; it is now on?x"),
	     "xx...; it is now on?x", "an end is not cut");
	error_set(&e, STATUS_BROKEN, "short");
	error_end(&e, "; it is now %d", 1);
	same(e.text, "short; it is now 1", "an end for which there is room");
}

static void test_printable(void)
{
	static const struct {
		const char *text, *printed, *why;
	} texts[] = {
		{"", "", NULL},
		{"a b~", "a b~", NULL},
		{"\u00e4\u20ac\U0001f600\u00a0\uffff\U0010ffff",
		 "\u00e4\u20ac\U0001f600\u00a0\uffff\U0010ffff", NULL},
		{"a\x1b[31m", "a?[31m", "control character"},
		{"\xc2\x80\xc2\x9b[1m\xc2\x9f", "????[1m??", "control character"},

		{"\u202e\u2066\u2028", "?????????", "control character"},
		{"\x9b", "?", "no UTF-8"},
		{"\xff\xfe\xc3", "???", "no UTF-8"},
		{"\xc3", "?", "no UTF-8"},
		{"\xe2\x82", "??", "no UTF-8"},
		{"\xe2\x82x", "??x", "no UTF-8"},
		{"\xc0\x9b", "??", "no UTF-8"},		  /* longer than need be */
		{"\xe0\x82\x9b", "???", "no UTF-8"},	  /* the same */
		{"\xf0\x80\x82\x9b", "????", "no UTF-8"}, /* the same */
		{"\xed\xa0\x80", "???", "no UTF-8"},	  /* a surrogate */
		{"\xf4\x90\x80\x80", "????", "no UTF-8"}, /* above U+10FFFF */
		{"\xf8\x88\x80\x80\x80", "?????", "no UTF-8"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		_cleanup_free_ char *text = copy(texts[i].text);

		same(unprintable(text), texts[i].why, "why it is not printed");
		make_printable(text);
		same(text, texts[i].printed, "as it is printed");
		CHECK(!unprintable(text));
	}
}

static void test_quoted(void)
{
	static const struct {
		const char *word, *quoted;
	} words[] = {
		{"a-b", "a-b"},
		{"a b\\", "'a b\\'"},
		{"it's", "'it'\\''s'"},
		{"\u00e4", "'\u00e4'"},
		{"\xc2\x9b"
		 "31m\x1b[0m\xff",
		 "$'\\302\\23331m\\033[0m\\377'"},
		{"\u00e4'\\\n1", "$'\u00e4\\'\\\\\\0121'"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		_cleanup_free_ char *quoted = shell_quoted(words[i].word);

		same(quoted, words[i].quoted, "as a shell must be given it");
	}
}

static void test_names_text(void)
{
	_cleanup_names_ struct names names = {0};
	_cleanup_free_ char *all = NULL, *some = NULL, *one = NULL, *part = NULL;

	CHECK(names_text(&names, ", ", 100) == NULL);
	for (int i = 0; i < 60; i++)
		names_add(&names, "name");
	all = names_text(&names, ", ", SIZE_MAX);
	CHECK(strlen(all) == 60 * 6 - 2);
	some = names_text(&names, ", ", 16);
	same(some, "name, name, name and 57 more", "what there is room for");
	one = names_text(&names, ", ", 4);
	same(one, "name and 59 more", "the first is there in any case");
	part = names_text(&names, ", ", 3);
	same(part, "nam... and 59 more", "it is cut, and the others are counted");
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
	test_names_text();
	test_quoted();
	test_printable();
	test_error();
	test_override();
	return done();
}
