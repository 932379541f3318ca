/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who has something open: one scan of /proc, by number and never by name. */
#pragma once

#include "error.h"
#include <stdint.h>
#include <sys/types.h>

/* What an open file is, by number. */
enum file_kind { FILE_CHARACTER, FILE_BLOCK, FILE_SOCKET };

/* What the processes have open, as far as it is a node or a socket; and their namespaces.
 * Opaque. */
struct open_files;

/* Look into all processes now. Never NULL. */
struct open_files *open_files_scan(void);
void open_files_free(struct open_files **open);

/* Who has it open: adds "COMM (pid N)" for each process to @holders. @number is the
 * device number of a node, the inode of a socket. */
void open_files_holders(const struct open_files *open, enum file_kind kind,
			uint64_t number, struct names *holders);

/* The network namespaces that processes are in, each once: its inode number in
 * ns[i].inode, and one of those processes in ns[i].pid. An inode of 0: that process's
 * namespace could not be told. */
struct net_namespace {
	ino_t inode;
	pid_t pid;
};
const struct net_namespace *open_files_net(const struct open_files *open, size_t *n);
