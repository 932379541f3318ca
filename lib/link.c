/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "link.h"
#include "holder.h"
#include "netns.h"
#include "sysfs.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/nexthop.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <net/if.h>
#include <sys/stat.h>

/* --- which interfaces there are --- */

struct link {
	const struct netns *ns;
	uint32_t index, flags, promiscuity;
	uint32_t master;   /* 0: none */
	uint32_t lower;	   /* what it stands on; 0: nothing */
	uint32_t lower_ns; /* the namespace of that, as its own one calls it */
	char name[IF_NAMESIZE];
	char kind[IF_NAMESIZE];
	bool xdp;     /* it has an XDP program */
	char *parent; /* the syspath of its device; NULL: that is not told */
};

/* What it stands on is in the same namespace. */
#define SAME_NS UINT32_MAX

struct links {
	struct link *link;
	size_t n;
};

static void links_free(struct links *links)
{
	for (size_t i = 0; i < links->n; i++)
		free(links->link[i].parent);
	free(links->link);
	*links = (struct links){0};
}
#define _cleanup_links_ __attribute__((cleanup(links_free)))

/* Room for a request to the kernel, as large as any here. */
struct question {
	_Alignas(struct nlmsghdr) char space[256];
};

/* Begin a @question for a dump. Returns its message. */
static struct nlmsghdr *question_begin(struct question *question, uint16_t type,
				       size_t header)
{
	struct nlmsghdr *message = mnl_nlmsg_put_header(question->space);

	message->nlmsg_type = type;
	message->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(message, header);
	return message;
}

static int ask(const struct netns *ns, const struct netns_view *view,
	       struct nlmsghdr *request, struct answer *answer, struct error *e)
{
	int r = netlink_ask(view->netlink, request, answer);

	return r < 0 ? netns_cannot_tell(ns, -r, e) : 0;
}

static void copy_text(const struct nlattr *attribute, char text[static IF_NAMESIZE])
{
	const char *from = netlink_payload(attribute, 0);

	if (from)
		snprintf(text, IF_NAMESIZE, "%.*s", mnl_attr_get_payload_len(attribute),
			 from);
}

/* The syspath of the device that an interface says is its parent; NULL: it says none, or
 * what could not be read was noted. */
static char *parent_of(const struct nlattr *bus, const struct nlattr *name)
{
	_cleanup_free_ char *path = NULL;
	char *parent;

	if (!bus || !name)
		return NULL;
	path = format("/sys/bus/%s/devices/%s", mnl_attr_get_str(bus),
		      mnl_attr_get_str(name));
	parent = realpath(path, NULL);
	if (!parent)
		sysfs_note_unread(path);
	return parent;
}

static struct link link_of(const struct netns *ns, const struct nlmsghdr *message)
{
	const struct ifinfomsg *header = mnl_nlmsg_get_payload(message);
	struct link link = {.ns = ns,
			    .index = (uint32_t)header->ifi_index,
			    .flags = header->ifi_flags,
			    .lower_ns = SAME_NS};
	const struct nlattr *attribute[IFLA_MAX + 1] = {0}, *one;
	const uint8_t *xdp;

	mnl_attr_for_each(one, message, sizeof(*header)) {
		if (mnl_attr_get_type(one) <= IFLA_MAX)
			attribute[mnl_attr_get_type(one)] = one;
	}
	link.promiscuity = netlink_number(attribute[IFLA_PROMISCUITY], 0);
	link.master = netlink_number(attribute[IFLA_MASTER], 0);
	link.lower = netlink_number(attribute[IFLA_LINK], 0);
	link.lower_ns = netlink_number(attribute[IFLA_LINK_NETNSID], SAME_NS);
	xdp = netlink_payload(netlink_nested(attribute[IFLA_XDP], IFLA_XDP_ATTACHED), 1);
	link.xdp = xdp && *xdp != XDP_ATTACHED_NONE;
	copy_text(attribute[IFLA_IFNAME], link.name);
	copy_text(netlink_nested(attribute[IFLA_LINKINFO], IFLA_INFO_KIND), link.kind);
	link.parent = parent_of(attribute[IFLA_PARENT_DEV_BUS_NAME],
				attribute[IFLA_PARENT_DEV_NAME]);
	return link;
}

/* Add all interfaces that are in @ns. */
static int links_of(const struct netns *ns, struct links *links, struct error *e)
{
	_cleanup_view_ struct netns_view view = {0};
	_cleanup_answer_ struct answer answer = {0};
	struct question question;
	struct nlmsghdr *message =
		question_begin(&question, RTM_GETLINK, sizeof(struct ifinfomsg));
	int r;

	mnl_attr_put_u32(message, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	if (netns_look(ns, &view, e) < 0)
		return -1;
	if (!view.netlink) /* it has ended */
		return 0;
	r = netlink_ask(view.netlink, message, &answer);
	/* Anybody can change a namespace of his own all the time. What stays there is in
	 * one of the answers. */
	if (r < 0 && (r != -EINTR || !*ns->where))
		return netns_cannot_tell(ns, -r, e);
	for (const struct nlmsghdr *m = NULL; (m = answer_next(&answer, m));) {
		links->link = with_room(links->link, links->n, sizeof(*links->link));
		links->link[links->n++] = link_of(ns, m);
	}
	return 0;
}

/* --- which are the device's --- */

/* Has /sys the interface there? Where its number is another one, /sys shows another
 * network namespace. */
static bool is_shown_at(const struct link *link, const char *dir)
{
	_cleanup_free_ char *index = sysfs_read(dir, "ifindex");

	return index && strtoul(index, NULL, 10) == link->index;
}

/* Is the interface one of the device at @parent? Kernels before 5.14 do not tell, nor of
 * a parent without a bus. */
static bool is_of(const struct link *link, const char *parent)
{
	_cleanup_free_ char *dir = format("%s/net/%s", parent, link->name);

	if (link->parent)
		return streq(link->parent, parent);
	return !*link->ns->where && is_shown_at(link, dir);
}

/* Set in @own which of the links are of these @parents, each of which has one. Returns 0,
 * or -1 with @e: one of a parent was not found. */
static int find_own(const struct links *links, const struct names *parents, bool own[],
		    struct error *e)
{
	int r = 0;

	for (size_t i = 0; i < parents->n; i++) {
		bool found = false;

		for (size_t j = 0; j < links->n; j++) {
			if (is_of(&links->link[j], parents->name[i]))
				own[j] = found = true;
		}
		if (!found)
			r = error_set(e, STATUS_REFUSED,
				      "cannot tell who uses it: its interface is in a "
				      "network namespace that cannot be looked into");
	}
	return r;
}

/* --- what uses one --- */

/* Say it of @link; @where: in which network namespace the user is. */
static void say(struct names *uses, const struct link *link, const char *where,
		const char *what)
{
	_cleanup_free_ char *use = format("interface %s %s%s", link->name, what, where);

	if (!names_have(uses, use))
		names_add(uses, use);
}

/* An upper one has taken it: whether it is up or not. */
static void say_upper(struct names *uses, const struct link *link, const char *where,
		      const char *kind, const char *name)
{
	const char *is = streq(kind, "bridge") ? "is in bridge"
			 : streq(kind, "bond") ? "is in bond"
					       : "is below";
	_cleanup_free_ char *what = format("%s %s", is, name);

	say(uses, link, where, what);
}

/* What /sys has above it, also of kinds that rtnetlink does not tell of, as VXLANs. */
static void uppers_of_sysfs(const struct link *link, const char *parent,
			    struct names *uses)
{
	_cleanup_free_ char *dir = format("%s/net/%s", parent, link->name);
	_cleanup_names_ struct names uppers = {0};

	if (!is_shown_at(link, dir))
		return;
	uppers = sysfs_names(dir, "upper_");
	for (size_t i = 0; i < uppers.n; i++) {
		_cleanup_free_ char *upper = format("%s/%s", dir, uppers.name[i]);
		const char *kind = sysfs_has(upper, "bridge")	 ? "bridge"
				   : sysfs_has(upper, "bonding") ? "bond"
								 : "";

		say_upper(uses, link, link->ns->where, kind,
			  uppers.name[i] + strlen("upper_"));
	}
}

/* Is @id what @ns calls the namespace @other? Returns 0 with *@is, or -1 with @e. */
static int is_called(const struct netns *ns, uint32_t id, const struct netns *other,
		     bool *is, struct error *e)
{
	_cleanup_view_ struct netns_view view = {0};
	_cleanup_answer_ struct answer answer = {0};
	_cleanup_close_ int fd = netns_open(other);
	struct question question;
	struct nlmsghdr *message =
		question_begin(&question, RTM_GETNSID, sizeof(struct rtgenmsg));
	const struct nlmsghdr *reply;

	if (fd < 0)
		return netns_cannot_tell(other, -fd, e);
	message->nlmsg_flags = NLM_F_REQUEST;
	mnl_attr_put_u32(message, NETNSA_FD, (uint32_t)fd);
	if (netns_look(ns, &view, e) < 0)
		return -1;
	if (view.netlink && ask(ns, &view, message, &answer, e) < 0)
		return -1;
	reply = answer_next(&answer, NULL);
	*is = reply && netlink_number(netlink_attribute(reply, sizeof(struct rtgenmsg),
							NETNSA_NSID),
				      SAME_NS) == id;
	return 0;
}

/* Does @upper stand on @link? Returns 0 with *@is, or -1 with @e. */
static int is_above(const struct link *upper, const struct link *link, bool *is,
		    struct error *e)
{
	bool same = upper->ns == link->ns;

	*is = (same && upper->index == link->master) ||
	      (same && upper->lower == link->index && upper->lower_ns == SAME_NS);
	if (*is || upper->lower != link->index || upper->lower_ns == SAME_NS)
		return 0;
	return is_called(upper->ns, upper->lower_ns, link->ns, is, e);
}

static int uppers_check(const struct links *links, const struct link *link,
			struct names *uses, struct error *e)
{
	for (size_t i = 0; i < links->n; i++) {
		const struct link *upper = &links->link[i];
		bool is;

		if (is_above(upper, link, &is, e) < 0)
			return -1;
		if (is)
			say_upper(uses, link, upper->ns->where, upper->kind, upper->name);
	}
	return 0;
}

/* One interface that is looked at. */
struct look {
	const struct link *link;
	const struct netns_view *view;
	struct names *uses;
};

/* Says "interface NAME WORDS ARGUMENT". */
static void look_say(const struct look *look, const char *words, const char *argument)
{
	_cleanup_free_ char *what = format("%s%s", words, argument);

	say(look->uses, look->link, look->link->ns->where, what);
}

/* Is it a link-local IPv6 address, which every interface that is up gives to itself? */
static bool is_link_local(const uint8_t *address)
{
	return address[0] == 0xfe && (address[1] & 0xc0) == 0x80;
}

/* The address in the attribute as text; false: there is none. */
static bool address_text(uint8_t family, const struct nlattr *attribute,
			 char text[static INET6_ADDRSTRLEN])
{
	const void *address = netlink_payload(attribute, family == AF_INET6 ? 16 : 4);

	return address && (family == AF_INET || family == AF_INET6) &&
	       inet_ntop(family, address, text, INET6_ADDRSTRLEN);
}

static int address_use(const struct look *look, const struct nlmsghdr *message,
		       struct error *)
{
	const struct ifaddrmsg *header = mnl_nlmsg_get_payload(message);
	/* Of a peer-to-peer connection, IFA_ADDRESS is the peer's. */
	const struct nlattr *local =
		netlink_attribute(message, sizeof(*header), IFA_LOCAL);
	const struct nlattr *address =
		local ? local : netlink_attribute(message, sizeof(*header), IFA_ADDRESS);
	char text[INET6_ADDRSTRLEN];

	if (header->ifa_index != look->link->index ||
	    !address_text(header->ifa_family, address, text) ||
	    (header->ifa_family == AF_INET6 &&
	     is_link_local(mnl_attr_get_payload(address))))
		return 0;
	look_say(look, "is up with address ", text);
	return 0;
}

/* Does one of the nexthops lead out of the interface? */
static bool has_nexthop(const struct nlattr *multipath, uint32_t index)
{
	const struct rtnexthop *hop = netlink_payload(multipath, 0);
	int left = hop ? mnl_attr_get_payload_len(multipath) : 0;

	for (; hop && RTNH_OK(hop, left); hop = RTNH_NEXT(hop)) {
		if ((uint32_t)hop->rtnh_ifindex == index)
			return true;
		left -= RTNH_ALIGN(hop->rtnh_len);
	}
	return false;
}

/* Does every interface that is up get this route from the kernel, or each address? */
static bool is_route_by_itself(const struct rtmsg *route, const struct nlattr *to)
{
	const uint8_t *address = netlink_payload(to, 16);

	return route->rtm_protocol == RTPROT_KERNEL &&
	       (route->rtm_table == RT_TABLE_LOCAL ||
		(route->rtm_family == AF_INET6 && address &&
		 (is_link_local(address) || address[0] == 0xff)));
}

static int route_use(const struct look *look, const struct nlmsghdr *message,
		     struct error *)
{
	const struct rtmsg *header = mnl_nlmsg_get_payload(message);
	const struct nlattr *to = netlink_attribute(message, sizeof(*header), RTA_DST);
	uint32_t out =
		netlink_number(netlink_attribute(message, sizeof(*header), RTA_OIF), 0);
	_cleanup_free_ char *route = NULL;
	char text[INET6_ADDRSTRLEN];

	if (out != look->link->index &&
	    !has_nexthop(netlink_attribute(message, sizeof(*header), RTA_MULTIPATH),
			 look->link->index))
		return 0;
	if (is_route_by_itself(header, to))
		return 0;
	if (header->rtm_dst_len == 0)
		route = copy(" default");
	else if (address_text(header->rtm_family, to, text))
		route = format(" %s/%u", text, header->rtm_dst_len);
	look_say(look, "is up with route", route ? route : "");
	return 0;
}

static int nexthop_use(const struct look *look, const struct nlmsghdr *message,
		       struct error *)
{
	uint32_t out =
		netlink_number(netlink_attribute(message, sizeof(struct nhmsg), NHA_OIF),
			       0);

	if (out == look->link->index)
		look_say(look, "is up with a nexthop of routes", "");
	return 0;
}

/* A filter of tc takes packets from the interface. */
static int filters_at(const struct look *look, uint32_t parent, struct error *e)
{
	_cleanup_answer_ struct answer answer = {0};
	struct question question;
	struct nlmsghdr *message =
		question_begin(&question, RTM_GETTFILTER, sizeof(struct tcmsg));
	struct tcmsg *header = mnl_nlmsg_get_payload(message);

	header->tcm_ifindex = (int)look->link->index;
	header->tcm_parent = parent;
	if (ask(look->link->ns, look->view, message, &answer, e) < 0)
		return -1;
	if (answer.n)
		look_say(look, "has a filter of tc", "");
	return 0;
}

/* The filters of a queueing discipline. That of ingress stands for both directions. */
static int qdisc_use(const struct look *look, const struct nlmsghdr *message,
		     struct error *e)
{
	const struct tcmsg *header = mnl_nlmsg_get_payload(message);
	uint32_t at = header->tcm_handle;

	if ((uint32_t)header->tcm_ifindex != look->link->index)
		return 0;
	if (header->tcm_parent != TC_H_INGRESS)
		return filters_at(look, at, e);
	if (filters_at(look, TC_H_MAKE(at, TC_H_MIN_INGRESS), e) < 0)
		return -1;
	return filters_at(look, TC_H_MAKE(at, TC_H_MIN_EGRESS), e);
}

/* Ask for the actions of one kind only. */
static void fill_mirred(struct nlmsghdr *request)
{
	struct nlattr *table = mnl_attr_nest_start(request, TCA_ACT_TAB);
	struct nlattr *first = mnl_attr_nest_start(request, 1);

	mnl_attr_put_strz(request, TCA_ACT_KIND, "mirred");
	mnl_attr_nest_end(request, first);
	mnl_attr_nest_end(request, table);
}

/* tc sends it packets of another interface. */
static int mirred_use(const struct look *look, const struct nlmsghdr *message,
		      struct error *)
{
	const struct nlattr *action,
		*table = netlink_attribute(message, sizeof(struct tcamsg), TCA_ACT_TAB);

	if (!table)
		return 0;
	mnl_attr_for_each_nested(action, table) {
		const struct nlattr *options = netlink_nested(action, TCA_ACT_OPTIONS);
		const struct tc_mirred *mirred =
			netlink_payload(netlink_nested(options, TCA_MIRRED_PARMS),
					sizeof(*mirred));

		if (mirred && mirred->ifindex == look->link->index)
			look_say(look, "is where an action of tc sends packets", "");
	}
	return 0;
}

/* Who has the file open, as far as can be seen; NULL: nobody. */
static char *holders_of(struct file_id file)
{
	const struct file_ids files = {&file, 1};
	_cleanup_holders_ struct holders holders = {0};
	struct error ignored;

	IGNORE(holders_find(&files, INT64_MAX, -1, &holders, &ignored));
	return holders_text(&holders, &files, LIST_MAX);
}

/* A packet socket is bound to it (packet_seq_show): that also hears what has no address.
 */
static int packets_check(const struct look *look, struct error *e)
{
	FILE *file = look->view->packets;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		_cleanup_free_ char *holders = NULL;
		unsigned int index;
		uint64_t inode;

		if (sscanf(line, "%*s %*s %*s %*s %u %*s %*s %*s %ju", &index, &inode) !=
			    2 ||
		    index != look->link->index)
			continue;
		holders = holders_of((struct file_id){S_IFSOCK, inode});
		look_say(look, "is listened to by ",
			 holders ? holders : "a packet socket");
	}
	return file && ferror(file) ? netns_cannot_tell(look->link->ns, errno, e) : 0;
}

/* A PPPoE connection goes by it, which needs no address either (pppoe_seq_show). */
static int pppoe_check(const struct look *look, struct error *e)
{
	FILE *file = look->view->pppoe;
	_cleanup_free_ char *line = NULL;
	size_t size = 0;

	while (file && getline(&line, &size, file) > 0) {
		char name[IF_NAMESIZE];

		if (sscanf(line, "%*x %*s %15s", name) == 1 &&
		    streq(name, look->link->name))
			look_say(look, "has a PPPoE connection", "");
	}
	return file && ferror(file) ? netns_cannot_tell(look->link->ns, errno, e) : 0;
}

/* What the kernel tells of an interface that is up: messages that mean a use of it. */
static const struct dump {
	uint16_t type;
	size_t header;
	void (*fill)(struct nlmsghdr *request);
	int (*use)(const struct look *look, const struct nlmsghdr *message,
		   struct error *e);
} dumps[] = {
	{RTM_GETROUTE, sizeof(struct rtmsg), NULL, route_use},
	{RTM_GETNEXTHOP, sizeof(struct nhmsg), NULL, nexthop_use},
	{RTM_GETQDISC, sizeof(struct tcmsg), NULL, qdisc_use},
	{RTM_GETACTION, sizeof(struct tcamsg), fill_mirred, mirred_use},
};
static const struct dump addresses = {RTM_GETADDR, sizeof(struct ifaddrmsg), NULL,
				      address_use};

/* Say what uses it according to @dump, until there are @enough uses. */
static int dump_check(const struct look *look, const struct dump *dump, size_t enough,
		      struct error *e)
{
	_cleanup_answer_ struct answer answer = {0};
	struct question question;
	struct nlmsghdr *message = question_begin(&question, dump->type, dump->header);

	if (dump->fill)
		dump->fill(message);
	if (ask(look->link->ns, look->view, message, &answer, e) < 0)
		return -1;
	for (const struct nlmsghdr *m = NULL; (m = answer_next(&answer, m));) {
		if (look->uses->n >= enough)
			break;
		if (mnl_nlmsg_get_payload_len(m) >= dump->header &&
		    dump->use(look, m, e) < 0)
			return -1;
	}
	return 0;
}

/* What an interface that is up is used for. Of what can go without an address, the first
 * that is found is enough: much of it goes with an address, or is what an upper interface
 * does. @before: how many uses were known before those of this interface. */
static int up_check(const struct look *look, size_t before, struct error *e)
{
	const struct names *uses = look->uses;

	if (dump_check(look, &addresses, SIZE_MAX, e) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(dumps) && uses->n == before; i++) {
		if (dump_check(look, &dumps[i], before + 1, e) < 0)
			return -1;
	}
	if (uses->n == before && packets_check(look, e) < 0)
		return -1;
	if (uses->n == before && pppoe_check(look, e) < 0)
		return -1;
	if (uses->n == before && look->link->xdp)
		look_say(look, "has an XDP program", "");
	if (uses->n == before && look->link->promiscuity)
		look_say(look, "is promiscuous", "");
	return 0;
}

static int link_check(const struct links *links, const struct link *link,
		      const struct names *parents, struct names *uses, struct error *e)
{
	_cleanup_view_ struct netns_view view = {0};
	const struct look look = {link, &view, uses};
	size_t before = uses->n;

	for (size_t i = 0; i < parents->n; i++)
		uppers_of_sysfs(link, parents->name[i], uses);
	if (uppers_check(links, link, uses, e) < 0)
		return -1;
	if (!(link->flags & IFF_UP))
		return 0;
	if (netns_look(link->ns, &view, e) < 0)
		return -1;
	if (!view.netlink)
		return netns_cannot_tell(link->ns, ESRCH, e);
	return up_check(&look, before, e);
}

int link_uses(const struct names *parents, struct names *uses, struct error *e)
{
	_cleanup_netns_ struct netns_list list = {0};
	_cleanup_links_ struct links links = {0};
	_cleanup_free_ bool *own = NULL;
	struct error second;
	int r;

	if (!parents->n)
		return 0;
	/* What can be seen is told, also where something else cannot. */
	r = netns_find(&list, e);
	for (size_t i = 0; i < list.n; i++) {
		if (links_of(&list.ns[i], &links, e) < 0)
			r = -1;
	}
	own = calloc(links.n + 1, sizeof(*own));
	if (!own)
		abort();
	if (find_own(&links, parents, own, r == 0 ? e : &second) < 0)
		r = -1;
	for (size_t i = 0; i < links.n; i++) {
		if (own[i] && link_check(&links, &links.link[i], parents, uses, e) < 0)
			r = -1;
	}
	return r;
}
