#!/usr/bin/env bats
# To whom a handoff would give the VFIO nodes, and to whom not.

load sys

# gives TEXT OPTION...: what a dry run would do with the node, and all that it would do to it.
gives() {
	local lines
	vfio_bind handoff -n --reset=never "${@:2}" nvme0n1
	lines=$(grep -v '^echo ' <<<"$output") || :
	if [[ $status != 0 || $lines != "$1" ]]; then
		printf '%s\n' "handoff ${*:2}: status $status; it said:" "$output" "and not:" "$1"
		return 1
	fi
}

@test "owner and mode" {
	promise "as chown(1) knows them: names come first, then numbers"
	gives "chown root /dev/vfio/10
chmod 0600 /dev/vfio/10" --owner=root
	gives "chown root:root /dev/vfio/10
chmod 0660 /dev/vfio/10" --owner=root:root
	gives "chown root: /dev/vfio/10
chmod 0660 /dev/vfio/10" --owner=root:
	gives "chown 0: /dev/vfio/10
chmod 0660 /dev/vfio/10" --owner 0:
	gives "chown :root /dev/vfio/10
chmod 0660 /dev/vfio/10" --owner=:root
	gives "chown 4711 /dev/vfio/10
chmod 0600 /dev/vfio/10" --owner=4711
	gives "chown +4711:4294967294 /dev/vfio/10
chmod 0660 /dev/vfio/10" --owner=+4711:4294967294

	promise "the mode alone, or with an owner; the last one of two counts"
	gives "chmod 0666 /dev/vfio/10" --mode=666
	gives "chown root:root /dev/vfio/10
chmod 0640 /dev/vfio/10" --owner=root:root --mode=0666 --mode=0640
	gives "chown 4711 /dev/vfio/10
chmod 0660 /dev/vfio/10" --mode=00660 --owner=0 --owner=4711

	promise "an empty one names nobody"
	gives ""
	gives "" --owner=
	gives "" --owner=:
	gives "chmod 0600 /dev/vfio/10" --owner= --mode=600

	promise "the steps come after the others, and the node of a group once"
	expect 0 "echo vfio-pci > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind
echo 1 > $NVME/reset
chown root:root /dev/vfio/10
chmod 0660 /dev/vfio/10" handoff -n --owner=root:root nvme0n1
	vfio_bind handoff -n --group --owner=0:0 00:1f.2
	[[ $status == 0 && $(grep -A9 '^chown' <<<"$output" | sort -u) == *"chmod 0660 /dev/vfio/7"* ]]
	[[ $(grep -c '^chown 0:0 /dev/vfio/7$' <<<"$output") == 1 ]]
	[[ $(grep -c '^chmod' <<<"$output") == 1 ]]
}

@test "an owner or a mode that cannot be" {
	local owner name
	promise "no such user or group: nothing is looked at"
	while read -r owner name; do
		expect 2 "vfio-bind: no such $name" handoff -n --owner="$owner" no-such-device
	done <<-'END'
		alise user: 'alise'
		alise:root user: 'alise'
		alise: user: 'alise'
		a:b:c user: 'a'
		root:b:c group: 'b:c'
		root:alise group: 'alise'
		:alise group: 'alise'
		4294967295 user: '4294967295'
		:4294967295 group: '4294967295'
		99999999999999999999 user: '99999999999999999999'
		-1 user: '-1'
		0x0 user: '0x0'
		1.5 user: '1.5'
		123456789: user: '123456789'
	END
	for name in ' 5' '+ 5' '+-5' ' -18446744073709551611'; do
		expect 2 "vfio-bind: no such user: '$name'" handoff -n --owner="$name" no-such-device
		expect 2 "vfio-bind: no such group: '$name'" handoff -n --owner=":$name" no-such-device
	done

	promise "without an IOMMU the device is given to nobody"
	local refused="no IOMMU: opening it takes CAP_SYS_RAWIO, and its user can read and write all memory: it is not given to a user"
	folder /sys/module/vfio/parameters
	echo Y >/sys/module/vfio/parameters/enable_unsafe_noiommu_mode
	expect 3 "vfio-bind: 0000:00:12.0: $refused" handoff -n --owner=root eth0
	expect 3 "vfio-bind: 0000:00:12.0: $refused" handoff -n --mode=0660 eth0
	expect 3 "vfio-bind: 0000:00:12.0: $refused" handoff -nf --owner=root eth0
	# Nor is one that VFIO has already.
	folder /sys/kernel/iommu_groups/9
	echo vfio-noiommu >/sys/kernel/iommu_groups/9/name
	expect 3 "vfio-bind: 0000:00:05.2: $refused" handoff -n --owner=root 00:05.2
	expect 0 "" handoff -n 00:05.2
}

# shellcheck disable=SC2154 # of sys.bash
@test "who a node is given to cannot open what all need" {
	promise "that is a warning, unless root asks"
	: >/dev/vfio/vfio
	chmod 600 /dev/vfio/vfio
	vfio_bind handoff -n --owner=4711 nvme0n1
	[[ $output == *"vfio-bind: 0000:00:10.0: warning: /dev/vfio/vfio is root:root 0600: 4711 cannot use /dev/vfio/10"* ]]
	[[ $status == 0 ]]
	chmod 660 /dev/vfio/vfio
	vfio_bind handoff -n --owner=:4711 nvme0n1
	[[ $output == *"warning: /dev/vfio/vfio is root:root 0660: :4711 cannot use /dev/vfio/10"* ]]
	gives "chown :root /dev/vfio/10
chmod 0660 /dev/vfio/10" --owner=:root
	# The node's group does not make him one of it.
	vfio_bind handoff -n --owner=4711:root nvme0n1
	[[ $output == *"warning: /dev/vfio/vfio is root:root 0660: 4711:root cannot use /dev/vfio/10"* ]]
	gives "chown 0 /dev/vfio/10
chmod 0600 /dev/vfio/10" --owner=0
	# His own groups do.
	if chgrp "$(id -g nobody)" /dev/vfio/vfio; then
		gives "chown nobody /dev/vfio/10
chmod 0600 /dev/vfio/10" --owner=nobody
	fi
	chmod 666 /dev/vfio/vfio
	gives "chown 4711 /dev/vfio/10
chmod 0600 /dev/vfio/10" --owner=4711
	chmod 600 /dev/vfio/vfio
	gives "chmod 0660 /dev/vfio/10" --mode=660
	rm /dev/vfio/vfio

	promise "of the device's own node, it is /dev/iommu"
	: >/dev/vfio/devices/vfio0
	mount --bind /dev/full /dev/vfio/devices/vfio0
	: >/dev/iommu
	chmod 600 /dev/iommu
	vfio_bind handoff -n --owner=4711 00:05.2
	[[ $status == 0 && $output == *"warning: /dev/iommu is root:root 0600: 4711 cannot use /dev/vfio/devices/vfio0"* ]]
	umount /dev/vfio/devices/vfio0
	rm /dev/iommu /dev/vfio/devices/vfio0
}

@test "the list shows owner and mode" {
	promise "of the node of its group, or its own"
	local node=/dev/vfio/devices/vfio0 terminal
	# A terminal of its own is a node that can be changed.
	exec 9<>/dev/ptmx
	for terminal in /dev/pts/[0-9]*; do :; done
	folder /sys/class/vfio/9
	attribute /sys/class/vfio/9/dev "$((0x$(stat -c %t "$terminal"))):$((0x$(stat -c %T "$terminal")))"
	chmod 640 "$terminal"
	: >/dev/vfio/9
	mount --bind "$terminal" /dev/vfio/9
	: >$node
	mount --bind /dev/full $node
	expect 0 "$(stat -c '%U:%G\x20%04a' "$terminal")" list -rno OWNER 00:05.2
	[[ $output == *\\x200640 ]]
	umount /dev/vfio/9
	rm /dev/vfio/9
	exec 9>&-
	expect 0 "$(stat -c '%U:%G\x20%04a' $node)" list -rno OWNER 00:05.2
	umount $node
	rm $node
	expect 0 "" list -rno OWNER nvme0n1
}

@test "a node that was given when something fails is as it was" {
	local node=/dev/vfio/devices/vfio0 group=/dev/vfio/9 pid
	if ! mknod -m 640 $node c 1 7; then skip "no node can be made here"; fi

	promise "the device's own"
	run -1 traced -qqqf -o "$MADE_UP/trace" -e trace=newfstatat -P /dev/iommu \
		-e inject=newfstatat:error=EIO vfio-bind handoff -v --reset=never --mode=0666 00:05.2
	echo "$output"
	[[ $output == *"chmod 0666 $node"* && $(stat -c %a $node) == 640 ]]

	promise "that, and the device is unplugged when all steps are made"
	traced -qqqf -o "$MADE_UP/trace" -e trace=chmod -e inject=chmod:signal=STOP:when=2 \
		vfio-bind handoff --reset=never --mode=0666 00:05.2 >"$MADE_UP/output" 2>&1 3>&- &
	until grep -qs 'stopped by' "$MADE_UP/trace"; do kill -0 $!; done
	none "$PCI/0000:00:05.2"
	read -r pid _ <"$MADE_UP/trace"
	kill -CONT "$pid"
	status=0
	wait $! || status=$?
	cat "$MADE_UP/output"
	[[ $status == 4 && $(<"$MADE_UP/output") == "vfio-bind: 0000:00:05.2: the device is gone; it was unplugged" ]]
	[[ $(stat -c %a $node) == 640 ]]

	promise "its group's, as the device's own one is another one's"
	folder /sys/class/vfio/9
	attribute /sys/class/vfio/9/dev 1:7
	mknod -m 640 $group c 1 7
	rm $node
	mknod $node c 1 3
	# As VFIO_GROUP_GET_STATUS tells of a viable one.
	run -1 traced -qqqf -o "$MADE_UP/trace" -e trace=ioctl -P $group \
		-e inject=ioctl:retval=0:poke_exit=@arg3=0800000001000000 \
		vfio-bind handoff -v --reset=never --mode=0666 00:05.2
	echo "$output"
	[[ $output == *"chmod 0666 $group"*"$node is the node of another device"* ]]
	[[ $(stat -c %a $group) == 640 ]]
	rm $node $group
}

@test "what only has the name of a node is no node" {
	local node=/dev/vfio/devices/vfio0
	: >$node
	mount --bind /dev/null $node
	promise "it is given to nobody, and not opened"
	local still="it is still on vfio-pci, flagged for vfio-pci"
	expect 1 "vfio-bind: 0000:00:05.2: $node is the node of another device; $still" \
		handoff -n --owner=4711 00:05.2
	expect 1 "vfio-bind: 0000:00:05.2: bound, but there is no node below /dev/vfio; $still" \
		handoff 00:05.2

	promise "the list shows neither it, nor whose it is"
	expect 0 "" list -rno NODE 00:05.2
	expect 0 "" list -rno OWNER 00:05.2
	umount $node
	rm $node
}
