// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * link-use INTERFACE packet|pppoe|xdp|tcx FILE: uses an interface that may have no
 * address.
 *
 * packet: listens to it with a packet socket. pppoe: connects by it to a made-up peer.
 * xdp, tcx: puts such a program on it, which passes all packets. Then makes FILE, and
 * goes on until a signal ends it.
 */
#include <arpa/inet.h>
#include <net/if.h> /* before the kernel's own */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_pppox.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int die(const char *what)
{
	fprintf(stderr, "link-use: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void listen_to(unsigned int interface)
{
	struct sockaddr_ll address = {.sll_family = AF_PACKET,
				      .sll_protocol = htons(ETH_P_ALL),
				      .sll_ifindex = (int)interface};
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (const void *)&address, sizeof(address)) < 0)
		die("packet");
}

static void connect_by(const char *interface)
{
	struct sockaddr_pppox address = {.sa_family = AF_PPPOX,
					 .sa_protocol = PX_PROTO_OE,
					 .sa_addr.pppoe = {.sid = htons(1),
							   .remote = {2, 0, 0, 0, 0, 1}}};
	int fd = socket(AF_PPPOX, SOCK_STREAM, PX_PROTO_OE);

	snprintf(address.sa_addr.pppoe.dev, sizeof(address.sa_addr.pppoe.dev), "%s",
		 interface);
	if (fd < 0 || connect(fd, (const void *)&address, sizeof(address)) < 0)
		die("pppoe");
}

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* BPF_TCX_EGRESS of Linux 6.6. */
#define TCX_EGRESS 47

/* Put a program of the type there, which passes all packets. */
static void put_program(unsigned int interface, uint32_t type, uint32_t place,
			int32_t pass, uint32_t flags)
{
	const struct bpf_insn instructions[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = pass},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr load = {.prog_type = type,
			       .insn_cnt = sizeof(instructions) / sizeof(*instructions),
			       .insns = (uintptr_t)instructions,
			       .license = (uintptr_t) ""};
	union bpf_attr link = {.link_create = {.target_ifindex = interface,
					       .attach_type = place,
					       .flags = flags}};
	int program = bpf(BPF_PROG_LOAD, &load);

	if (program < 0)
		die("BPF_PROG_LOAD");
	link.link_create.prog_fd = (uint32_t)program;
	if (bpf(BPF_LINK_CREATE, &link) < 0)
		die("BPF_LINK_CREATE");
}

int main(int argc, char *argv[])
{
	unsigned int interface = argc == 4 ? if_nametoindex(argv[1]) : 0;

	if (!interface)
		die("usage: link-use INTERFACE packet|pppoe|xdp|tcx FILE");
	if (strcmp(argv[2], "packet") == 0)
		listen_to(interface);
	else if (strcmp(argv[2], "pppoe") == 0)
		connect_by(argv[1]);
	else if (strcmp(argv[2], "xdp") == 0)
		put_program(interface, BPF_PROG_TYPE_XDP, BPF_XDP, XDP_PASS,
			    XDP_FLAGS_SKB_MODE);
	else /* TCX_NEXT is -1 */
		put_program(interface, BPF_PROG_TYPE_SCHED_CLS, TCX_EGRESS, -1, 0);
	if (open(argv[3], O_CREAT | O_WRONLY, 0600) < 0)
		die(argv[3]);
	pause();
}
