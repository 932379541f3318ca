/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who would be hurt if the device lost its host driver? A table of kinds. */
#pragma once

#include "device.h"
#include "holder.h"

struct usage {
	struct names uses; /* each refuses */
	/* Each warns: a node is open in processes that let go of such a node when the
	 * device goes. */
	struct names let_go;
	char *processes; /* "COMM (pid N)" of all that have a node open; NULL: none */
	bool momentary;	 /* no use but open nodes, which may be over soon */
};

/* Find who uses the device through its host driver. @known: what a scan of /proc has told
 * (holders_find()), if it has looked for all its nodes; else they are looked for now.
 * Returns 0 with @usage to be cleared; or -1 with @e (STATUS_REFUSED) if something could
 * not be looked at, and @usage what was found until then. */
_must_check_ int usage_find(const struct device *dev, const struct holders *known,
			    struct usage *usage, struct error *e);

void usage_clear(struct usage *usage);
#define _cleanup_usage_ __attribute__((cleanup(usage_clear)))

/* Add the numbers of the device's nodes to @files. Returns 0 or -errno: there may be
 * others, which who calls usage_find() as well hears there. */
_must_check_ int usage_files(const struct device *dev, struct file_ids *files);

/* The names of its functions (interfaces, disks and other nodes), with commas; NULL:
 * none. */
char *usage_names(const struct device *dev);
