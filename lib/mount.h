/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is mounted in this mount namespace: proc_pid_mountinfo(5). */
#pragma once

#include "util.h"

#include <sys/types.h>

/* Its texts are as they were given: the kernel's escapes are undone. */
struct mount {
	uint64_t id;   /* as statx(2) tells it of a file (STATX_MNT_ID) */
	dev_t number;  /* of the file system; a made-up one if that is on no disk, and of
			  btrfs and its like, which are on several */
	char *root;    /* what of it is mounted; of a namespace, "net:[INODE]" */
	char *where;   /* the mount point */
	char *type;    /* "ext4"; of FUSE "fuse.ANYTHING" */
	char *source;  /* of most types any text that who mounted it liked */
	char *options; /* of the file system: "rw,hidepid=invisible" */
};

struct mounts {
	struct mount *mount;
	size_t n;
};

/* Returns 0 with @mounts to be cleared, or -errno. */
_must_check_ int mounts_read(struct mounts *mounts);
void mounts_clear(struct mounts *mounts);
#define _cleanup_mounts_ __attribute__((cleanup(mounts_clear)))

/* The file that they are read from, for a message. */
#define MOUNTS_FILE "/proc/thread-self/mountinfo"
