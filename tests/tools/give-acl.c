// SPDX-License-Identifier: LGPL-2.1-or-later
/* give-acl FILE UID: lets this user, too, read and write FILE, which keeps its mode for
 * the others. */
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>

int main(int argc, char **argv)
{
	struct stat st;

	if (argc != 3 || stat(argv[1], &st) < 0) {
		fprintf(stderr, "usage: give-acl FILE UID\n");
		return 2;
	}
	struct {
		struct posix_acl_xattr_header header;
		struct posix_acl_xattr_entry entry[5];
	} acl = {
		{POSIX_ACL_XATTR_VERSION},
		{
			{ACL_USER_OBJ, st.st_mode >> 6 & 7, ACL_UNDEFINED_ID},
			{ACL_USER, ACL_READ | ACL_WRITE, atoi(argv[2])},
			{ACL_GROUP_OBJ, st.st_mode >> 3 & 7, ACL_UNDEFINED_ID},
			{ACL_MASK, ACL_READ | ACL_WRITE, ACL_UNDEFINED_ID},
			{ACL_OTHER, st.st_mode & 7, ACL_UNDEFINED_ID},
		},
	};

	if (setxattr(argv[1], "system.posix_acl_access", &acl, sizeof(acl), 0) < 0) {
		perror(argv[1]);
		return 1;
	}
	return 0;
}
