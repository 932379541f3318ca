#!/usr/bin/env bats
# Interfaces: who uses one, with an address or without, in whatever network namespace; and
# who does not.

# shellcheck disable=SC2154 # pid and background are of the helpers
load ../helpers

setup() {
	mount=$BATS_TEST_TMPDIR/"a mount"
	find_pci_interface
}

teardown() {
	local name
	exec 9<&-
	end_background
	! mountpoint -q "$mount" || umount "$mount"
	for name in c d; do
		[[ ! -e /run/netns/$name ]] || ip netns del "$name"
	done
	for name in vbmac vbdummy vbvlan; do
		[[ ! -e /sys/class/net/$name ]] || ip link del "$name"
	done
	# An interface of a namespace that ended comes back.
	driver_is "$PCI_NIC" e1000e || vfio-bind release "$PCI_NIC"
	find_pci_interface
	echo 1 >"/proc/sys/net/ipv6/conf/$interface/disable_ipv6"
	ip nexthop flush >/dev/null
	ip link set "$interface" down promisc off
	ip addr flush dev "$interface"
	tc qdisc del dev "$interface" clsact 2>/dev/null || :
	tc qdisc del dev "$interface" root 2>/dev/null || :
}

# in_use TEXT [COMMAND...]: the command, else vfio-bind handoff, is refused for that alone:
# "interface NAME TEXT".
in_use() {
	local text=$1
	shift
	(($#)) || set -- vfio-bind handoff "$PCI_NIC"
	run "$@"
	[[ $status == 3 && $output == "\
vfio-bind: ${PCI_NIC#*/}: in use: interface $interface $text"$'\n'"vfio-bind: hint: "*"--force"* ]] ||
		{ echo "status $status; it said:" "$output" "not: $text" && return 1; }
	is_home "$PCI_NIC" e1000e
}

idle() {
	vfio_bind 0 handoff --dry-run "$PCI_NIC"
}

# cannot_tell TEXT [COMMAND...]: refused, as it could not be looked at.
cannot_tell() {
	local text=$1
	shift
	(($#)) || set -- vfio-bind handoff "$PCI_NIC"
	run "$@"
	[[ $status == 3 && $output == "\
vfio-bind: ${PCI_NIC#*/}: cannot tell who uses it$text"$'\n'"vfio-bind: hint: --force takes it all the same" ]] ||
		{ echo "status $status; it said:" "$output" "not: $text" && return 1; }
	is_home "$PCI_NIC" e1000e
}

# namespace_of_process: a namespace with one process and no name. Its pid is in $pid.
namespace_of_process() {
	in_background unshare -n sleep infinity
	until_true 10 is_sleep "$pid"
	ip link set "$interface" netns "$pid"
}

is_sleep() {
	[[ $(<"/proc/$1/comm") == sleep ]]
}

# used_by KIND [COMMAND...]: link-use uses the interface so, run by the command. Its pid is in
# $pid.
used_by() {
	rm -f "$BATS_TEST_TMPDIR/used"
	in_background "${@:2}" link-use "$interface" "$1" "$BATS_TEST_TMPDIR/used"
	until_true 10 test -e "$BATS_TEST_TMPDIR/used"
}

# address_in COMMAND...: gives the interface an address, by the command before ip's own words.
address_in() {
	"$@" ip addr add 192.0.2.7/24 dev "$interface"
	"$@" ip link set "$interface" up
}

ADDRESS="is up with address 192.0.2.7"

# --- namespaces ---

@test "in a namespace with a name" {
	ip netns add c
	ip link set "$interface" netns c
	address_in ip netns exec c
	in_use "$ADDRESS in network namespace c"
	ip -n c link set "$interface" down
	vfio_bind 0 handoff "$PCI_NIC"
	device_is "$PCI_NIC" vfio-pci vfio-pci
	vfio_bind 0 release "$PCI_NIC"
	is_home "$PCI_NIC" e1000e
}

@test "in a namespace that only a process is in" {
	namespace_of_process
	idle
	address_in nsenter -n -t "$pid"
	in_use "$ADDRESS in the network namespace of sleep (pid $pid)"
}

@test "in a namespace that only a mount keeps, anywhere" {
	: >"$mount"
	namespace_of_process
	mount --bind "/proc/$pid/ns/net" "$mount"
	address_in nsenter "--net=$mount"
	kill "$pid"
	until_true 10 is_gone "$pid"
	in_use "$ADDRESS in network namespace $mount"
}

@test "in a namespace that cannot be found: refused" {
	namespace_of_process
	exec 9<"/proc/$pid/ns/net"
	kill "$pid"
	until_true 10 is_gone "$pid"
	cannot_tell ": its interface is in a network namespace that cannot be looked into"
	exec 9<&-
	until_true 10 test -e "/sys/class/net/$interface"
	idle
}

@test "a namespace that it is not allowed to enter: refused" {
	ip netns add c
	cannot_tell "s interfaces in network namespace c: Operation not permitted" \
		setpriv --bounding-set=-sys_admin vfio-bind handoff "$PCI_NIC"
}

@test "vfio-bind itself is in another namespace" {
	local first
	first=$(</proc/1/comm)
	address_in
	in_use "$ADDRESS in the network namespace of $first (pid 1)" \
		unshare -n vfio-bind handoff "$PCI_NIC"
	ip netns add c
	in_use "$ADDRESS in the network namespace of $first (pid 1)" \
		ip netns exec c vfio-bind handoff "$PCI_NIC"
	ip link set "$interface" down
	ip netns exec c vfio-bind handoff -n "$PCI_NIC"
}

@test "what stands on it in another namespace" {
	ip link add link "$interface" name vbmac type macvlan
	in_use "is below vbmac"
	ip netns add c
	ip link set vbmac netns c
	in_use "is below vbmac in network namespace c"
}

@test "what stands on another interface of that number, in another namespace" {
	local index
	ip netns add c
	ip netns add d
	index=$(<"/sys/class/net/$interface/ifindex")
	ip -n d link add vbpeer index "$index" type veth peer name vbveth netns c
	ip -n c -j link show vbveth | jq -e ".[0].link_index == $index"
	idle
}

# --- uses without an address ---

@test "a route without an address" {
	ip link set "$interface" up
	ip route add default dev "$interface"
	in_use "is up with route default"
	ip route del default
	ip route add 198.51.100.0/24 dev "$interface" table 7
	in_use "is up with route 198.51.100.0/24"
	ip route flush table 7
	ip route add 198.51.100.0/24 nexthop dev lo nexthop dev "$interface"
	in_use "is up with route 198.51.100.0/24"
	ip route del 198.51.100.0/24
	idle
}

@test "a nexthop, whose routes do not tell the interface" {
	ip link set "$interface" up
	until_true 20 grep -qx 1 "/sys/class/net/$interface/carrier"
	ip nexthop add id 7 dev "$interface"
	in_use "is up with a nexthop of routes"
}

@test "an IPv6 address or route that is not link-local" {
	# The emulated network has a router that gives addresses away.
	echo 0 | tee "/proc/sys/net/ipv6/conf/$interface"/{accept_ra,disable_ipv6}
	ip link set "$interface" up
	until_true 30 has_link_local
	idle
	ip -6 route add 2001:db8:1::/48 dev "$interface"
	in_use "is up with route 2001:db8:1::/48"
	ip addr add 2001:db8::7/64 dev "$interface" nodad
	in_use "is up with address 2001:db8::7"
}

# has_link_local: the address, and the routes that go with it.
has_link_local() {
	[[ $(ip -6 addr show dev "$interface") == *" fe80::"* &&
		$(ip -6 route show table all dev "$interface") == *"local fe80::"*"multicast ff00::/8"* ]]
}

@test "up with nothing, or down with an address: idle" {
	ip link set "$interface" up
	idle
	ip link set "$interface" down
	ip addr add 192.0.2.7/24 dev "$interface"
	idle
}

@test "a packet socket that is bound to it" {
	ip link set "$interface" up
	used_by packet
	in_use "is listened to by link-use (pid $pid)"
	ip link set "$interface" down
	idle
	ip netns add c
	ip link set "$interface" netns c
	ip -n c link set "$interface" up
	used_by packet ip netns exec c
	in_use "is listened to by link-use (pid $pid) in network namespace c"
}

@test "a PPPoE connection" {
	ip link set "$interface" up
	used_by pppoe
	in_use "has a PPPoE connection"
	kill "$pid"
	until_true 10 is_gone "$pid"
	idle
}

@test "promiscuous" {
	ip link set "$interface" up promisc on
	in_use "is promiscuous"
}

@test "an XDP program" {
	ip link set "$interface" up
	used_by xdp
	in_use "has an XDP program"
}

@test "a program of tcx, in whatever namespace" {
	ip link set "$interface" up
	used_by tcx
	in_use "has a program of tcx"
	kill "$pid"
	until_true 10 is_gone "$pid"
	idle
	ip netns add c
	ip link set "$interface" netns c
	ip -n c link set "$interface" up
	used_by tcx ip netns exec c
	in_use "has a program of tcx in network namespace c"
}

@test "a filter of tc, in either direction, or of a queue" {
	local direction
	ip link set "$interface" up
	tc qdisc add dev "$interface" clsact
	idle
	for direction in ingress egress; do
		tc filter add dev "$interface" $direction matchall classid 1:1
		in_use "has a filter of tc"
		tc filter del dev "$interface" $direction
	done
	tc qdisc add dev "$interface" root handle 5: prio
	idle
	tc filter add dev "$interface" parent 5: matchall classid 5:1
	in_use "has a filter of tc"
}

@test "tc sends it what another interface gets" {
	ip link set "$interface" up
	ip link add vbdummy type dummy
	tc qdisc add dev vbdummy clsact
	tc filter add dev vbdummy ingress matchall action mirred egress redirect dev lo
	idle
	tc filter add dev vbdummy egress matchall action mirred egress redirect dev "$interface"
	in_use "is where an action of tc sends packets"
}
