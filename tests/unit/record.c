// SPDX-License-Identifier: LGPL-2.1-or-later
/* The record as text and back, and whom it believes. */
#include "../../lib/record.h"
#include "test.h"

#define HOST "e1000e"
#define VFIO "vfio-pci"

static struct binding binding(const char *driver, const char *flag)
{
	return (struct binding){(char *)driver, (char *)flag};
}

static bool believes(const struct record *record, const char *driver, const char *flag)
{
	struct binding is = binding(driver, flag);

	return record_believes(record, &is);
}

static void test_text(void)
{
	struct binding from = binding(HOST, NULL), to = binding(VFIO, VFIO);
	_cleanup_record_ struct record record = record_next(NULL, &from, &to);
	_cleanup_free_ char *text = NULL, *again = NULL;
	_cleanup_record_ struct record back = {0};

	record.incarnation = 18446744073709551615U;
	record.functions = 2;
	text = record_text(&record);
	EXPECT(streq(text, "incarnation 18446744073709551615\n"
			   "driver " HOST "\ngiven " VFIO "\nfunctions 2\n"));
	back = record_parse(text);
	again = record_text(&back);
	EXPECT(streq(again, text));
	ok(content(), "a record is the same when it was written and read");
}

static void test_parse(void)
{
	_cleanup_record_ struct record none = record_parse("");
	_cleanup_record_ struct record odd = record_parse(
		"\nnonsense\nlater word\ndriver a\ndriver b\ndriver_override with space\n"
		"given x\ngiven x\ngiven a\nincarnation 7");
	_cleanup_record_ struct record old = record_parse("incarnation 9\ndriver " HOST
							  "\nflag " VFIO "\nflag none\n");

	EXPECT(!none.origin.driver && !none.origin.driver_override && !none.given.n);
	EXPECT(streq(odd.origin.driver, "a") &&
	       streq(odd.origin.driver_override, "with space"));
	EXPECT(odd.incarnation == 7 && odd.given.n == 1);
	ok(content(),
	   "unknown lines are passed over, the first of two counts, no name stands "
	   "twice");
	EXPECT(believes(&old, HOST, VFIO) && believes(&old, VFIO, "none"));
	EXPECT(!believes(&old, "other", NULL));
	ok(content(), "a record of version 0.1 is read");
}

static void test_next(void)
{
	struct binding parked = binding(NULL, "none"), vfio = binding(VFIO, VFIO),
		       stub = binding("pci-stub", "pci-stub");
	_cleanup_record_ struct record first = record_next(NULL, &parked, &vfio);
	_cleanup_record_ struct record second = {0};

	first.functions = 3;
	second = record_next(&first, &vfio, &stub);
	EXPECT(second.functions == 3);
	EXPECT(!second.origin.driver && streq(second.origin.driver_override, "none"));
	EXPECT(believes(&second, NULL, NULL) && believes(&second, NULL, "none"));
	EXPECT(believes(&second, VFIO, "pci-stub") &&
	       believes(&second, "pci-stub", NULL));
	EXPECT(!believes(&second, HOST, NULL) && !believes(&second, NULL, HOST));
	EXPECT(!believes(&first, "pci-stub", NULL));
	ok(content(),
	   "the origin stays; each driver and flag is unset or known, else it is not "
	   "believed");
}

int main(void)
{
	test_text();
	test_parse();
	test_next();
	return done();
}
