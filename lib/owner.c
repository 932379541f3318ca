/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "owner.h"
#include "sysfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define NOBODY ((uid_t)-1)
#define NO_GROUP ((gid_t)-1)
#define ACL "system.posix_acl_access"

/* --- names --------------------------------------------------------------------- */

/* A number from 0 to the last but one that fits: all ones mean "as it is" to chown(2).
 * Returns 0 or -1. */
static int parse_id(const char *text, unsigned int *id)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 10);

	/* It skips blanks, and knows a minus. */
	if (!isdigit((unsigned char)text[*text == '+']) || *end || n >= UINT32_MAX)
		return -1;
	*id = n;
	return 0;
}

/* Set @e to that there is none of that name; or, as errno tells, that it could not be
 * looked up. Returns -1. */
static int no_such(const char *kind, const char *name, struct error *e)
{
	int err = errno;

	if (!err || err == ENOENT || err == ESRCH || err == EBADF || err == EPERM)
		return error_set(e, STATUS_USAGE, "no such %s: '%.64s'", kind, name);
	return error_set(e, STATUS_USAGE, "cannot look up the %s '%.64s': %s", kind, name,
			 strerror(err));
}

static void add_group(struct owner *owner, gid_t gid)
{
	_cleanup_free_ char *number = format("%u", gid);

	names_add(&owner->groups, number);
}

/* Note the groups that the user is in. */
static void find_groups(struct owner *owner, const struct passwd *user)
{
	int n = 0;
	gid_t *groups;

	getgrouplist(user->pw_name, user->pw_gid, NULL, &n);
	groups = calloc(n + 1, sizeof(*groups));
	if (!groups)
		abort();
	if (getgrouplist(user->pw_name, user->pw_gid, groups, &n) >= 0) {
		for (int i = 0; i < n; i++)
			add_group(owner, groups[i]);
	}
	free(groups);
}

/* @login: with his login group, which a number has only if it is a user's. */
static int find_user(struct owner *owner, const char *name, bool login, struct error *e)
{
	struct passwd *user;

	errno = 0;
	user = getpwnam(name);
	if (!user) {
		no_such("user", name, e);
		if (parse_id(name, &owner->uid) < 0)
			return -1;
		errno = 0;
		user = getpwuid(owner->uid);
		if (!user)
			return login ? no_such("user", name, e) : 0;
	}
	owner->uid = user->pw_uid;
	if (login)
		owner->gid = user->pw_gid;
	find_groups(owner, user);
	return 0;
}

static int find_group(struct owner *owner, const char *name, struct error *e)
{
	struct group *group;

	errno = 0;
	group = getgrnam(name);
	if (group)
		owner->gid = group->gr_gid;
	else if (no_such("group", name, e) < 0 && parse_id(name, &owner->gid) < 0)
		return -1;
	return 0;
}

int owner_find(struct owner *owner, const char *text, mode_t mode, struct error *e)
{
	_cleanup_free_ char *user = copy(text);
	char *group = user ? strchr(user, ':') : NULL;

	*owner = (struct owner){.text = text, .uid = NOBODY, .gid = NO_GROUP};
	if (group)
		*group++ = '\0';
	if (user && *user && find_user(owner, user, group && !*group, e) < 0)
		return -1;
	if (group && *group && find_group(owner, group, e) < 0)
		return -1;
	if (owner->uid == NOBODY && owner->gid != NO_GROUP)
		add_group(owner, owner->gid);
	owner->mode = mode != (mode_t)-1       ? mode
		      : owner->gid != NO_GROUP ? OWNER_MODE_GROUP
					       : OWNER_MODE;
	return 0;
}

bool owner_asks(const struct owner *owner)
{
	return owner->uid != NOBODY || owner->gid != NO_GROUP;
}

/* --- a node -------------------------------------------------------------------- */

/* A node that is open by its path alone, so that VFIO hears nothing of it. */
struct node {
	int fd;
	char self[32]; /* what leads to it, for the calls that take no such fd */
	struct stat is;
	bool has_acl;
};

static int look(struct node *node, struct error *e)
{
	ssize_t acl = getxattr(node->self, ACL, NULL, 0);

	node->has_acl = acl > 0;
	if ((acl >= 0 || errno == ENODATA || errno == EOPNOTSUPP) &&
	    fstat(node->fd, &node->is) == 0)
		return 0;
	return error_set(e, STATUS_FAILED, "cannot look at its node: %s",
			 strerror(errno));
}

static int open_node(struct node *node, const char *path, dev_t number, struct error *e)
{
	bool any = !number && sysfs_is_dry_run();

	node->fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (node->fd < 0)
		return error_set(e, STATUS_FAILED, "cannot look at %s: %s", path,
				 strerror(errno));
	snprintf(node->self, sizeof(node->self), "/proc/self/fd/%d", node->fd);
	if (look(node, e) < 0)
		return -1;
	if (!S_ISCHR(node->is.st_mode))
		return error_set(e, STATUS_FAILED, "%s is no character device", path);
	if (!any && node->is.st_rdev != number)
		return error_set(e, STATUS_FAILED, "%s is the node of another device",
				 path);
	return 0;
}

static mode_t mode_of(const struct node *node)
{
	return node->is.st_mode & 07777;
}

static bool is_given(const struct owner *owner, const struct node *node)
{
	return (owner->uid == NOBODY || owner->uid == node->is.st_uid) &&
	       (owner->gid == NO_GROUP || owner->gid == node->is.st_gid) &&
	       owner->mode == mode_of(node) && !node->has_acl;
}

/* --- the steps ----------------------------------------------------------------- */

static int step_ended(int result, const char *line, struct error *e)
{
	int err = errno;

	sysfs_step_ended();
	return result < 0
		       ? error_set(e, STATUS_FAILED, "cannot %s: %s", line, strerror(err))
		       : 0;
}

static int set_mode(const struct node *node, mode_t mode, const char *path,
		    struct error *e)
{
	_cleanup_free_ char *line = format("chmod %04o %s", mode, path);

	sysfs_step_begins(line);
	return step_ended(sysfs_is_dry_run() ? 0 : chmod(node->self, mode), line, e);
}

static int drop_acl(const struct node *node, const char *path, struct error *e)
{
	_cleanup_free_ char *line = format("setfacl --remove-all %s", path);

	sysfs_step_begins(line);
	return step_ended(sysfs_is_dry_run() ? 0 : removexattr(node->self, ACL), line, e);
}

static int set_owner(const struct owner *owner, const struct node *node, const char *path,
		     struct error *e)
{
	_cleanup_free_ char *text = shell_quoted(owner->text);
	_cleanup_free_ char *line = format("chown %s %s", text, path);

	sysfs_step_begins(line);
	return step_ended(sysfs_is_dry_run() ? 0
					     : fchownat(node->fd, "", owner->uid,
							owner->gid, AT_EMPTY_PATH),
			  line, e);
}

/* The mode allows nobody but the owner anything while that changes: what it allowed to
 * the group, or will, is not for any other group. */
static int make_steps(const struct owner *owner, struct node *node, const char *path,
		      struct error *e)
{
	if (mode_of(node) & ~OWNER_MODE && set_mode(node, OWNER_MODE, path, e) < 0)
		return -1;
	if (node->has_acl && drop_acl(node, path, e) < 0)
		return -1;
	if (owner_asks(owner) && set_owner(owner, node, path, e) < 0)
		return -1;
	return set_mode(node, owner->mode, path, e);
}

static int read_back(const struct owner *owner, struct node *node, const char *path,
		     struct error *e)
{
	_cleanup_free_ char *text = NULL;

	if (sysfs_is_dry_run())
		return 0;
	if (look(node, e) < 0)
		return -1;
	if (is_given(owner, node))
		return 0;
	text = owner_text(path);
	return error_set(e, STATUS_FAILED, "%s is %s, and not as asked", path,
			 text ? text : "gone");
}

int owner_give(const struct owner *owner, const char *path, dev_t number,
	       struct given *before, struct error *e)
{
	struct node node = {.fd = -1};
	int result;

	if (open_node(&node, path, number, e) < 0) {
		/* In a dry run it is to come yet, root's alone. */
		node.is = (struct stat){.st_mode = S_IFCHR | 0600};
		result = sysfs_is_dry_run() && access(path, F_OK) < 0 && errno == ENOENT
				 ? make_steps(owner, &node, path, e)
				 : -1;
	} else if (is_given(owner, &node)) {
		result = 0;
	} else {
		*before = (struct given){copy(path), number, node.is.st_uid,
					 node.is.st_gid, mode_of(&node)};
		result = make_steps(owner, &node, path, e) < 0 ||
					 read_back(owner, &node, path, e) < 0
				 ? -1
				 : 0;
	}
	cleanup_close(&node.fd);
	if (result < 0)
		owner_give_back(before);
	return result;
}

void owner_give_back(struct given *before)
{
	struct node node = {.fd = -1};
	struct error ignored; /* then it is gone, or less open than it was */

	if (before->node &&
	    open_node(&node, before->node, before->number, &ignored) == 0) {
		IGNORE(chmod(node.self, OWNER_MODE));
		IGNORE(fchownat(node.fd, "", before->uid, before->gid, AT_EMPTY_PATH));
		IGNORE(chmod(node.self, before->mode));
	}
	cleanup_close(&node.fd);
	owner_given_clear(before);
}

void owner_given_clear(struct given *before)
{
	free(before->node);
	*before = (struct given){0};
}

/* --- what is said of it -------------------------------------------------------- */

/* Can he open what has this owner and mode? */
static bool may_open(const struct owner *owner, const struct stat *st)
{
	_cleanup_free_ char *gid = format("%u", st->st_gid);
	mode_t bits = st->st_mode;

	if (owner->uid == 0)
		return true;
	if (owner->uid == st->st_uid)
		bits >>= 6;
	else if (names_have(&owner->groups, gid))
		bits >>= 3;
	return (bits & 06) == 06;
}

char *owner_lacks(const struct owner *owner, const char *shared, const char *node)
{
	_cleanup_free_ char *is = owner_text(shared);
	struct stat st;

	if (!owner_asks(owner) || !is || stat(shared, &st) < 0 || may_open(owner, &st))
		return NULL;
	return format("%s is %s: %s cannot use %s", shared, is, owner->text, node);
}

char *owner_text(const char *node)
{
	const struct passwd *user;
	const struct group *group;
	_cleanup_free_ char *uid = NULL, *gid = NULL;
	struct stat st;

	if (lstat(node, &st) < 0) {
		sysfs_note_unread(node);
		return errno == ENOENT ? NULL : copy("?");
	}
	uid = format("%u", st.st_uid);
	gid = format("%u", st.st_gid);
	user = getpwuid(st.st_uid);
	group = getgrgid(st.st_gid);
	return format("%s:%s %04o", user ? user->pw_name : uid,
		      group ? group->gr_name : gid, st.st_mode & 07777);
}
