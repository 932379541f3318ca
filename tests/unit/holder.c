// SPDX-License-Identifier: LGPL-2.1-or-later
/* A look at all processes that is cut short. */
#include "../../lib/holder.h"
#include "test.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Does a look with these limits end without an answer, but for this, and leave no child?
 * A lease has many looks: what each left would fill the table of processes. */
static bool is_cut(int64_t deadline, int stop, const char *why)
{
	static struct file_id file = {S_IFCHR, 1};
	const struct file_ids files = {&file, 1};
	_cleanup_holders_ struct holders holders = {0};
	struct error e = {0};

	return holders_find(&files, deadline, stop, &holders, &e) < 0 &&
	       strstr(e.text, why) && waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD;
}

int main(void)
{
	int news[2];

	ok(is_cut(now(), -1, "it takes too long"), "at its deadline");
	if (pipe(news) < 0 || write(news[1], "", 1) != 1)
		abort();
	ok(is_cut(INT64_MAX, news[0], "interrupted"), "when something has come");
	return done();
}
