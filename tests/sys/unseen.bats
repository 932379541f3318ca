#!/usr/bin/env bats
# A look that fails where somebody could be overlooked: that is refused, whoever is there.
# tests/sys/faults.bats looks for more of these by chance.

# shellcheck disable=SC2154,SC2030,SC2031 # sys.bash sets holder
load sys

# Under ptrace, LeakSanitizer does not work.
export ASAN_OPTIONS=$NO_LEAKS

# unless_seen STATUS TEXT CALL:ERRNO PATH COMMAND...: COMMAND, a vfio-bind, ends with this status
# and says that TEXT if this call for PATH fails; PATH may be empty.
unless_seen() {
	local path=${4:+-P $4} status=0
	# shellcheck disable=SC2086 # options
	output=$(strace -qqqf -o "$MADE_UP/trace" -e trace="${3%%:*}" $path \
		-e inject="${3%%:*}:error=${3#*:}" "${@:5}" 2>&1) || status=$?
	if [[ $status != "$1" || $output != *"$2"* || $(<"$MADE_UP/trace") != *INJECTED* ]]; then
		printf '%s\n' "${*:5}: status $status, not $1; it said:" "$output" \
			"and not:" "$2" "calls:" "$(<"$MADE_UP/trace")"
		return 1
	fi
}

# nodes_of_nvme NUMBER: of all, the disk has one character node.
nodes_of_nvme() {
	folder "$NVME/tty/ttyX"
	attribute "$NVME/tty/ttyX/dev" "$1"
	none "$NVME/nvme"
}

# hex TEXT: its bytes, as strace has them.
hex() { printf %s "$1" | od -An -v -tx1 | tr -d ' \n'; }

@test "a process, or its threads" {
	promise "a thread with descriptors of its own"
	nodes_of_nvme 1:7
	hold /dev/null
	unless_seen 3 "cannot tell who has it open: /proc/$holder/task: Input/output error" \
		getdents64:EIO "/proc/$holder/task" vfio-bind handoff -n 00:10.0 none

	promise "who holds a device, where those that are seen are vfio-bind's own"
	hold /dev/null
	local release='exec vfio-bind release -n 00:05.2 9</dev/full' # as if a worker had it
	bash -c "$release"
	unless_seen 3 "cannot tell who has it open: /proc/$holder/task: Input/output error" \
		getdents64:EIO "/proc/$holder/task" bash -c "$release"
}

# bats test_tags=slow
@test "what is below a device that a process holds" {
	local dir n
	nodes_of_nvme 1:7
	hold /dev/full
	# In a release, the worker alone looks: at the first sight, and again as long as it is in use.
	record pci:0000:00:10.0 "$NVME" "driver pci-stub" "given nvme"
	expect 3 "vfio-bind: 0000:00:10.0: in use: /dev/ttyX is open in sleep (pid $holder)
vfio-bind: hint: end that use first; --force takes it all the same" release -n 00:10.0
	for n in 1 2 3; do
		unless_seen 3 "cannot tell what it is used for: Cannot allocate memory" \
			openat:ENOMEM:when=$n "$NVME/tty" vfio-bind release -n 00:10.0
	done
	for dir in "$NVME/tty" "$NVME/tty/ttyX"; do
		unless_seen 3 "cannot tell what it is used for: Input/output error" \
			openat:EIO "$dir" vfio-bind handoff -n 00:10.0 none
	done
}

@test "what is below a device, for its record: nothing is written then" {
	local path
	changing
	for path in "$NVME/nvme/nvme0/nvme0n1/dev" "$NVME/nvme/nvme0/nvme0n1"; do
		unless_seen 1 "vfio-bind: 0000:00:10.0: cannot " \
			openat:EIO "$path" vfio-bind pin -v 00:10.0 pci-stub
		[[ $output == *": Input/output error" && $output != *echo* ]]
		[[ $(<"$NVME/driver_override") == "(null)" && ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
	done
	expect 0 "echo pci-stub > $NVME/driver_override" pin -v 00:10.0 pci-stub
}

@test "whose a share is" {
	local share=/sys/fs/virtiofs/1
	folder $share "$NVME/virtio9"
	link $share/device "$NVME/virtio9"
	attribute $share/tag vb
	unless_seen 3 "cannot tell whether it is in use: cannot read $share/device: Input/output error" \
		readlink:EIO $share vfio-bind handoff -n 00:10.0 none
}

@test "what a descriptor of an anonymous inode is: a device, or not" {
	changing
	: >"$MADE_UP/watched"
	tail -f "$MADE_UP/watched" >/dev/null 2>&1 3>&- &
	holder=$!
	until [[ $(readlink /proc/$holder/fd/*) == *anon_inode:* ]]; do kill -0 $holder; done
	expect 0 "" list -nro HOLDER 00:05.2
	unless_seen 3 "cannot tell who has it open: /proc/$holder/fd: Input/output error" \
		readlinkat:EIO "/proc/$holder/fd" vfio-bind list -nro HOLDER 00:05.2

	# As Linux 6.18 tells of the device that a VFIO user has.
	local device fd text link='anon_inode:[vfio-device]'
	for fd in "/proc/$holder/fd/"*; do [[ $(readlink "$fd") != anon_inode:* ]] || break; done
	for device in 05.2 05.1; do
		text=$'pos:\t0\nvfio-device-syspath: '$PCI/0000:00:$device$'\n'
		run -0 strace -qqqf -o "$MADE_UP/trace" -e trace=readlinkat,read \
			-P "/proc/$holder/fd" -P "/proc/$holder/fdinfo/${fd##*/}" \
			-e inject=readlinkat:retval=${#link}:poke_exit=@arg3="$(hex "$link")" \
			-e inject=read:retval=${#text}:poke_exit=@arg2="$(hex "$text")" \
			vfio-bind list -nro HOLDER 00:05.2
		[[ $(grep -c INJECTED "$MADE_UP/trace") -gt 1 ]]
		case $device in
		05.1) [[ ! $output ]] ;;
		05.2) [[ $output == "tail\\x20(pid\\x20$holder)" ]] ;;
		esac
	done
}

# bats test_tags=slow
@test "an export of a disk" {
	local config=/sys/kernel/config dir
	folder $config/nvmet/subsystems/a/namespaces/1
	for dir in $config/nvmet/subsystems $config/nvmet/subsystems/a/namespaces; do
		unless_seen 3 "cannot tell whether it is in use: cannot read $dir: Too many open files" \
			openat:EMFILE "$dir" vfio-bind handoff -n 00:10.0 none
	done
	unless_seen 3 "cannot tell whether it is in use: cannot read $dir: Input/output error" \
		getdents64:EIO "$dir" vfio-bind handoff -n 00:10.0 none
}

@test "a kernel without swap" {
	unless_seen 0 "echo none > $PCI/0000:00:1f.2/driver_override" \
		openat:ENOENT /proc/swaps vfio-bind handoff -n 00:1f.2 none
}

@test "what is below a loop device, whose node is another one's" {
	folder /sys/devices/virtual/block/loop0/loop
	attribute /sys/devices/virtual/block/loop0/loop/backing_file /dev/nvme0n1
	attribute /sys/devices/virtual/block/loop0/dev 7:0
	link /sys/class/block/loop0 /sys/devices/virtual/block/loop0
	: >/dev/loop0
	mount --bind /dev/null /dev/loop0
	# As one that is not in use answers.
	run -3 strace -qqqf -o /dev/null -e trace=ioctl -P /dev/loop0 -e inject=ioctl:error=ENXIO \
		vfio-bind handoff -n 00:10.0 none
	umount /dev/loop0
	rm /dev/loop0
	[[ $output == *"cannot tell what is below a loop device: loop0: No such device or address"* ]]
}

@test "the network namespace of a process, or what has the name of one" {
	ip link set eth0 down
	unless_seen 3 "cannot tell who uses its interfaces: Input/output error" \
		getdents64:EIO /proc vfio-bind handoff -n 0000:00:12.0 none
	mkdir -p /run/netns
	: >/run/netns/none
	unless_seen 3 "cannot tell who uses its interfaces: /run/netns/none: Invalid argument" \
		ioctl:EINVAL /run/netns/none vfio-bind handoff -n 0000:00:12.0 none
	expect 0 "echo none > $PCI/0000:00:12.0/driver_override
echo 0000:00:12.0 > $DRIVERS/e1000e/unbind" handoff -n 0000:00:12.0 none
	rm /run/netns/none
}

# stacked: eth1 of a PCI device, with an interface on top, upper.
stacked() {
	local index
	ip link add eth1 type veth peer name upper 2>/dev/null || skip "this kernel has no veth"
	IFS=: read -r index _ < <(ip -o link show eth1)
	attribute "$PCI/0000:00:1c.0/0000:01:00.0/net/eth1/ifindex" "$index"
}

@test "what stands on an interface, in a network namespace that only a thread is in" {
	local ready=$MADE_UP/ready task
	rm -f "$ready"
	stacked
	"${REAL%/*}/tools/node-user" threadnet /dev/null "$ready" 3>&- &
	holder=$!
	until [[ -e $ready ]]; do kill -0 $holder; done
	for task in "/proc/$holder/task"/*; do
		[[ ${task##*/} == "$holder" ]] || ip link set upper netns "${task##*/}"
	done
	expect 3 "vfio-bind: 0000:01:00.0: in use: interface eth1 is below upper in the network namespace of \
node-user (pid $holder)
vfio-bind: hint: end that use first; --force takes it all the same" handoff -n 01:00.0 none
	ip link del eth1
}

@test "what stands on an interface, in a network namespace that is mounted behind another mount" {
	local at=$MADE_UP/behind
	stacked
	mkdir "$at"
	: >"$at/net"
	unshare --net="$at/net" true
	hold /dev/null nsenter --net="$at/net"
	ip link set upper netns "$holder"
	mount -t tmpfs made-up "$at"
	expect 3 "vfio-bind: 0000:01:00.0: in use: interface eth1 is below upper in the network namespace of \
sleep (pid $holder)
vfio-bind: hint: end that use first; --force takes it all the same" handoff -n 01:00.0 none
	let_go
	expect 3 "vfio-bind: 0000:01:00.0: cannot tell who uses its interfaces: $at/net is behind another mount
vfio-bind: hint: --force takes it all the same" handoff -n 01:00.0 none
	umount "$at"
	expect 3 "vfio-bind: 0000:01:00.0: in use: interface eth1 is below upper in network namespace $at/net
vfio-bind: hint: end that use first; --force takes it all the same" handoff -n 01:00.0 none
	umount "$at/net"
	ip link del eth1 2>/dev/null || :
}

# ends_when CALL PATH ARGUMENT...: the process ends when this call of vfio-bind for PATH comes, which
# fails as the kernel lets it fail then.
ends_when() {
	local trace=$MADE_UP/trace
	: >"$trace"
	{ until [[ -s $trace ]]; do :; done; kill -KILL "$holder"; } &
	run -0 strace -qqqf -o "$trace" -e trace="$1" -P "$2" \
		-e inject="$1:error=EACCES:delay_enter=1s:when=1" vfio-bind "${@:3}"
	[[ $(<"$trace") == *INJECTED* && ! -e /proc/$holder ]]
	wait
}

# bats test_tags=slow
@test "a process that ends while it is looked at is nobody" {
	ip link set eth0 down
	sleep 600 3>&- &
	holder=$!
	ends_when newfstatat "/proc/$holder/ns/net" handoff -n 0000:00:12.0 none
	nodes_of_nvme 1:7
	hold /dev/zero
	ends_when statx "/proc/$holder/fd" list -nro HOLDER 00:10.0
}

@test "which nodes a device has when it is to be reset" {
	local n node=/dev/vfio/devices/vfio0 reset=$PCI/0000:00:05.2/reset
	changing
	: >$node
	mount --bind /dev/full $node
	attribute "$reset" ''
	run -0 vfio-bind handoff --reset=always 00:05.2
	[[ $(<"$reset") == 1 ]]
	for n in 1 2; do # before the first write, and before the reset
		: >"$reset"
		status=0
		strace -qqqf -o "$MADE_UP/trace" -P "$PCI/0000:00:05.2/vfio-dev/vfio0/dev" -e trace=openat \
			-e inject=openat:error=EIO:when=$n vfio-bind handoff --reset=always 00:05.2 || status=$?
		[[ $status != 0 && $(<"$MADE_UP/trace") == *INJECTED* && ! -s $reset ]]
	done
	umount $node
	rm $node
}

# bats test_tags=slow
@test "the ACL of a node that is given to somebody" {
	: >/dev/vfio/devices/vfio0
	mount --bind /dev/full /dev/vfio/devices/vfio0
	unless_seen 1 "cannot look at its node: Input/output error" \
		getxattr:EIO "" vfio-bind handoff -n --owner=4711 00:05.2
	# Not each file system has some.
	unless_seen 0 "chown 4711 /dev/vfio/devices/vfio0" \
		getxattr:EOPNOTSUPP "" vfio-bind handoff -n --owner=4711 00:05.2
	umount /dev/vfio/devices/vfio0
	rm /dev/vfio/devices/vfio0
}

@test "a file of a user's FUSE file system that its server has spoiled hides nobody" {
	local server ready=$MADE_UP/ready
	if ! mknod /run/fuse c 10 229 || ! exec 9<>/run/fuse; then skip "no FUSE here"; fi
	nodes_of_nvme 1:7
	mkdir -p /run/mnt
	mount -i -t fuse -o nodev,nosuid,fd=9,rootmode=40000,user_id=65534,group_id=65534 vb /run/mnt
	"$BATS_TEST_DIRNAME/bad-fuse" <&9 >"$MADE_UP/output" 2>&1 3>&- 9>&- &
	server=$!
	setpriv --reuid 65534 --regid 65534 --clear-groups bash -c 'exec 9>&- </run/mnt/x
		until ! [[ -e /dev/fd/0 ]]; do :; done; echo y; exec sleep 600' >"$ready" 3>&- &
	holder=$!
	exec 9>&-
	until [[ -s $ready ]]; do kill -0 $holder $server; done
	vfio_bind handoff -n 00:10.0 none
	kill $server
	umount -l /run/mnt
	echo "$output"
	[[ $status == 0 ]]
}

@test "the holder of a node below a folder that cannot be read" {
	nodes_of_nvme 1:7
	hold /dev/full
	expect 0 "sleep\\x20(pid\\x20$holder)" list -nro HOLDER 00:10.0
	unless_seen 1 "?
vfio-bind: cannot read $NVME: Too many open files" \
		openat:EMFILE "$NVME/tty" vfio-bind list -nro HOLDER 00:10.0
}

@test "udev, when it cannot be told whether it is there: nothing is touched" {
	changing
	mkdir -p /run/udev
	: >/run/udev/control
	unless_seen 1 "vfio-bind: 0000:00:12.0: cannot read /run/udev/control: Input/output error" \
		access:EIO /run/udev/control vfio-bind handoff -v -t 1 00:12.0 none
	rm /run/udev/control
	[[ $output != *echo* ]]
}

@test "a device that is unplugged as it is listed is none without a driver" {
	unless_seen 2 "vfio-bind: 0000:00:12.0: the device is gone: it was removed" \
		faccessat,faccessat2:ENOENT "$PCI/0000:00:12.0" vfio-bind list -n 00:12.0
	[[ $output == "vfio-bind: "* ]]
}

# bats test_tags=slow
@test "the descriptors of each thread have their own five seconds" {
	local ready=$MADE_UP/ready
	"${REAL%/*}/tools/node-user" thread /dev/full "$ready" 3>&- &
	holder=$!
	until [[ -e $ready ]]; do kill -0 $holder; done
	run -0 strace -qqqf -o "$MADE_UP/trace" -e trace=openat -P "/proc/$holder" \
		-e inject=openat:delay_exit=1.5s vfio-bind list -nro HOLDER 00:05.2
	[[ $output == *"node-user"*"(pid"*"$holder)"* ]]
	# The process' own, its threads; the thread's, the maps; the threads again, which have maps.
	[[ $(grep -c DELAYED "$MADE_UP/trace") == 5 ]]
}

# maps FILE: a process whose main thread has ended has it mapped, in $holder.
maps() {
	local ready=$MADE_UP/ready
	rm -f "$ready"
	"${REAL%/*}/tools/node-user" threadmap "$1" "$ready" 3>&- &
	holder=$!
	until [[ -e $ready && $(<"/proc/$holder/stat") == *") Z "* ]]; do kill -0 $holder; done
}

@test "what is mapped when the main thread has ended" {
	promise "it is held"
	nodes_of_nvme 1:5
	maps /dev/zero
	expect 0 "node-user\\x20(pid\\x20$holder)" list -nro HOLDER 00:10.0

	promise "another node, or a file, is nobody's hold, though nobody else has it mapped"
	nodes_of_nvme 1:7
	maps /dev/zero
	expect 0 "" list -nro HOLDER 00:10.0
	let_go
	: >"$MADE_UP/file"
	maps "$MADE_UP/file"
	expect 0 "" list -nro HOLDER 00:10.0
	rm "$MADE_UP/file"

	promise "by its number, also without its name"
	nodes_of_nvme 1:5
	maps /dev/zero
	umount -l /dev/zero
	run vfio-bind list -nro HOLDER 00:10.0
	mount --bind "$MADE_UP/dev/zero" /dev/zero
	[[ $status == 0 && $output == "node-user\\x20(pid\\x20$holder)" ]]
}

@test "what is mapped, of a file system that has another file of the same inode number" {
	local at=$MADE_UP/twice first
	nodes_of_nvme 1:5
	mkdir -p "$at"/{node,file,both}
	mount -t tmpfs made-up "$at/node"
	mount -t tmpfs made-up "$at/file"
	mknod "$at/node/node" c 1 5 2>/dev/null || skip "no node can be made here"
	cp "$(type -P sleep)" "$at/file"
	mount -t overlay -o "xino=off,lowerdir=$at/node:$at/file" made-up "$at/both" || skip "no overlay here"
	"$at/both/sleep" 20 3>&- &
	first=$!
	until grep -q "$at/both/sleep" /proc/$first/maps; do kill -0 $first; done
	maps "$at/both/node"
	[[ $(awk '$6 ~ "/both/" { print $4, $5 }' /proc/{$first,[1-9]*/task/[1-9]*}/maps | sort -u | wc -l) == 1 ]]
	expect 0 "node-user\\x20(pid\\x20$holder)" list -nro HOLDER 00:10.0
	kill $first
	umount -l "$at"/{both,node,file}
}

@test "a process that has just ended, or what no server tells any more, is nobody" {
	local call
	nodes_of_nvme 1:7
	hold /dev/full
	for call in "openat:ESRCH /proc/$holder" "openat:ENOENT /proc/$holder/comm" \
		"statx:ESTALE /proc/$holder/fd" "statx:ENOTCONN /proc/$holder/fd"; do
		# shellcheck disable=SC2086 # two words
		unless_seen 0 "" $call vfio-bind list -nro HOLDER 00:10.0
		[[ ! $output ]]
	done
	# Of another file system than FUSE, that tells nothing.
	unless_seen 3 "cannot tell who has it open: /proc/$holder/fd: Input/output error" \
		statx:EIO "/proc/$holder/fd" vfio-bind list -nro HOLDER 00:10.0
}

# bats test_tags=slow
@test "a process that takes too long is named" {
	nodes_of_nvme 1:7
	sleep 600 3>&- &
	holder=$!
	until [[ $(<"/proc/$holder/comm") == sleep ]]; do :; done
	run -3 strace -qqqf -o "$MADE_UP/trace" -e trace=openat -P "/proc/$holder" \
		-e inject=openat:delay_enter=7s:when=1 vfio-bind handoff -n 00:10.0 none
	[[ $output == *"cannot tell who has it open: it takes too long to look into sleep (pid $holder)"* ]]
}

# beside_slow COMMAND...: runs it while a look into $holder takes four seconds; sets ms, how long
# COMMAND took, and output.
# shellcheck disable=SC2016 # for the inner bash
beside_slow() {
	run strace -qqqf -o "$MADE_UP/trace" -e trace=openat -P "/proc/$holder" \
		-e inject=openat:delay_enter=4s:when=1 \
		bash -c 'start=${EPOCHREALTIME/./}; "$@"; echo $((${EPOCHREALTIME/./} - start)) >"$0"' \
		"$MADE_UP/took" "$@"
	ms=$(($(<"$MADE_UP/took") / 1000))
}

# bats test_tags=slow
@test "a process that takes long to look into keeps nobody: a signal, the deadline" {
	local ms
	promise "a signal while the parent looks for all devices"
	nodes_of_nvme 1:7
	hold /dev/null
	beside_slow timeout 1 vfio-bind handoff 00:10.0 none
	[[ $output == *"interrupted"*": nothing was touched"* ]]
	((ms < 3000))

	promise "the deadline, at which the parent looks who holds what is not done"
	hold /dev/null
	mkdir -p /run/vfio-bind/lock
	chmod -R 700 /run/vfio-bind
	exec {lock}>/run/vfio-bind/lock/pci:0000:00:05.2
	flock $lock
	beside_slow vfio-bind release -t 0.5 00:05.2
	exec {lock}>&-
	[[ $output == *"timed out: locked by "* ]]
	((ms > 1800 && ms < 3000))
}
