// SPDX-License-Identifier: LGPL-2.1-or-later
/* Whose an interface is, as rtnetlink tells it: no interface here has a device. */
#include "../../lib/link.h"
#include "../../lib/netns.h"
#include "../../lib/sysfs.h"
#include "test.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>

#define PARENT "/sys/devices/pci0000:99/0000:99:00.0"

/* The errno of a look at the parent of the second interface, or 0. */
static int second_fails_with;

/* Of both. */
static struct ifinfomsg kind;

int __wrap_netns_find(struct netns_list *list, struct error *e);
int __wrap_netns_find(struct netns_list *list, struct error *e)
{
	(void)e;
	list->ns = with_room(NULL, 0, sizeof(*list->ns));
	list->ns[list->n++] = (struct netns){.path = copy(""), .where = copy("")};
	return 0;
}

int __wrap_netns_look(const struct netns *ns, struct netns_view *view, struct error *e);
int __wrap_netns_look(const struct netns *ns, struct netns_view *view, struct error *e)
{
	static char socket;

	(void)ns;
	(void)e;
	view->netlink = (struct mnl_socket *)&socket;
	return 0;
}

void __wrap_netns_view_close(struct netns_view *view);
void __wrap_netns_view_close(struct netns_view *view)
{
	(void)view;
}

int __wrap_netns_has_tcx(const struct netns *ns, uint32_t index, bool *has,
			 struct error *e);
int __wrap_netns_has_tcx(const struct netns *ns, uint32_t index, bool *has,
			 struct error *e)
{
	(void)ns;
	(void)index;
	(void)e;
	*has = false;
	return 0;
}

static void put_interface(struct nlmsghdr *message, int index, const char *parent)
{
	struct ifinfomsg *header;

	message->nlmsg_type = RTM_NEWLINK;
	header = mnl_nlmsg_put_extra_header(message, sizeof(*header));
	*header = kind;
	header->ifi_index = index;
	mnl_attr_put_strz(message, IFLA_IFNAME, "vbtest");
	mnl_attr_put_strz(message, IFLA_PARENT_DEV_BUS_NAME, "pci");
	mnl_attr_put_strz(message, IFLA_PARENT_DEV_NAME, parent);
}

int __wrap_netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request,
		       struct answer *answer);
int __wrap_netlink_ask(struct mnl_socket *socket, struct nlmsghdr *request,
		       struct answer *answer)
{
	struct nlmsghdr *message;

	(void)socket;
	if (request->nlmsg_type != RTM_GETLINK)
		return 0;
	answer->data = calloc(2, 256);
	if (!answer->data)
		abort();
	for (int i = 1; i <= 2; i++) {
		message = mnl_nlmsg_put_header(answer->data + answer->n);
		put_interface(message, i, i == 1 ? "first" : "second");
		answer->n += message->nlmsg_len;
	}
	return 0;
}

char *__wrap_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved)
{
	(void)resolved;
	errno = second_fails_with;
	return errno && streq(path, "/sys/bus/pci/devices/second") ? NULL : copy(PARENT);
}

static void test_parent(void)
{
	static const int absence[] = {0, ENOENT};
	static char parent[] = PARENT;
	struct names parents = {(char *[]){parent}, 1}, uses = {0};
	struct error e;

	for (size_t i = 0; i < ARRAY_SIZE(absence); i++) {
		second_fails_with = absence[i];
		EXPECT(link_uses(&parents, &uses, &e) == 0 && sysfs_check_read(&e) == 0);
	}
	second_fails_with = EIO;
	EXPECT(link_uses(&parents, &uses, &e) == 0 && sysfs_check_read(&e) < 0);
	EXPECT(strstr(e.text, "cannot read /sys/bus/pci/devices/second: "));
	EXPECT(uses.n == 0);
	ok(content(), "an interface whose device cannot be told is not passed over");
}

static void test_can(void)
{
	static char parent[] = PARENT;
	struct names parents = {(char *[]){parent}, 1}, uses = {0};
	struct error e;

	second_fails_with = 0;
	kind.ifi_type = ARPHRD_CAN;
	EXPECT(link_uses(&parents, &uses, &e) == 0 && uses.n == 0);
	kind.ifi_flags = IFF_UP;
	EXPECT(link_uses(&parents, &uses, &e) == 0 && uses.n == 1);
	EXPECT(uses.n == 1 && streq(uses.name[0], "interface vbtest is up on a CAN bus"));
	names_free(&uses);
	kind.ifi_type = ARPHRD_ETHER;
	EXPECT(link_uses(&parents, &uses, &e) == 0 && uses.n == 0);
	ok(content(), "a CAN bus has no addresses: who is up there is in use");
}

int main(void)
{
	test_parent();
	test_can();
	return done();
}
