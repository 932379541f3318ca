/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* Undo what the kernel makes of a blank and its like (mangle_path): \040. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; to++) {
		if (from[0] == '\\' && strspn(from + 1, "01234567") >= 3) {
			*to = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				     (from[3] - '0'));
			from += 4;
		} else {
			*to = *from++;
		}
	}
	*to = '\0';
}

/* The next word of a line; the words are one blank apart, and one can be empty. A new
 * string, or NULL: there is none. */
static char *next_word(char **rest)
{
	char *word = strsep(rest, " \n");

	if (word)
		unescape(word);
	return copy(word);
}

static void clear(struct mount *mount)
{
	free(mount->root);
	free(mount->where);
	free(mount->type);
	free(mount->source);
	free(mount->options);
}

/* "ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS [TAG...] - TYPE SOURCE OPTIONS" */
static bool parse(char *line, struct mount *mount)
{
	unsigned int major, minor;
	uint64_t id;
	int begin = 0;
	char *rest;

	if (sscanf(line, "%" SCNu64 " %*d %u:%u %n", &id, &major, &minor, &begin) != 3 ||
	    !begin)
		return false;
	rest = line + begin;
	*mount = (struct mount){.id = id, .number = makedev(major, minor)};
	mount->root = next_word(&rest);
	mount->where = next_word(&rest);
	rest = rest ? strstr(rest, " - ") : NULL;
	if (rest) {
		rest += strlen(" - ");
		mount->type = next_word(&rest);
		mount->source = next_word(&rest);
		mount->options = next_word(&rest);
	}
	if (mount->options)
		return true;
	clear(mount);
	return false;
}

int mounts_read(struct mounts *mounts)
{
	FILE *file = fopen(MOUNTS_FILE, "re");
	_cleanup_free_ char *line = NULL;
	size_t size = 0;
	int err = 0;

	*mounts = (struct mounts){0};
	if (!file)
		return -errno;
	while (errno = 0, getline(&line, &size, file) > 0) {
		struct mount mount;

		if (!parse(line, &mount)) {
			err = -EBADMSG;
			break;
		}
		mounts->mount = with_room(mounts->mount, mounts->n, sizeof(mount));
		mounts->mount[mounts->n++] = mount;
	}
	if (err == 0)
		err = -errno;
	fclose(file);
	if (err < 0)
		mounts_clear(mounts);
	return err;
}

void mounts_clear(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->n; i++)
		clear(&mounts->mount[i]);
	free(mounts->mount);
	*mounts = (struct mounts){0};
}
