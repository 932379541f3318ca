#!/usr/bin/env bats
# IOMMU groups: one of three members, and one that a NIC shares with its bridge.

load ../helpers

holder='' # hold sets it
: "${pid=}" # in_background sets it

setup_file() {
	modprobe vfio-pci
}

setup() {
	group=/dev/vfio/$(group_of "$AHCI")
}

teardown() {
	let_go
	end_background
	umount -q "$BATS_TEST_TMPDIR" || :
	vfio-bind release --all
	put_home "${TRIO[@]}"
	until_true 20 test -b /dev/sda
}

@test "one member: refused, naming the others with their drivers" {
	local member other
	for member in "${TRIO[@]}"; do
		vfio_bind 3 handoff "$member"
		says "${member#*/}: IOMMU group ${group##*/} is not viable"
		for other in "${TRIO[@]}"; do
			[[ $other == "$member" ]] || says "${other#*/} (${HOST_DRIVER[$other]})"
		done
		[[ $output != *"${member#*/} ("* ]]
		says "hint: --group takes these as well"
	done
	group_is home
}

@test "two of three: refused, naming the third alone" {
	vfio_bind 3 handoff -d auto "$LPC" "$AHCI"
	says "0000:00:1f.0: IOMMU group ${group##*/} is not viable: in it with host drivers: 0000:00:1f.3 (i801_smbus)"
	group_is home
}

@test "--group: all go, a user opens each, and all come back to the drivers they had" {
	local round member
	for round in 1 2 3; do
		vfio_bind 0 handoff --group "${TRIO[round - 1]}"
		[[ ! $output ]]
		group_is taken
		for member in "${TRIO[@]}"; do
			run -0 vfio-open "$group" "${member#*/}"
			says "pci"
		done
		vfio_bind 0 release --group "${TRIO[3 - round]}"
		[[ ! $output ]]
		group_is home
	done
}

@test "all members named in one command are the group, too" {
	vfio_bind 0 handoff --driver=auto "${TRIO[@]}"
	group_is taken
	vfio_bind 0 handoff --group -v "$SMBUS"
	[[ ! $output ]]
	vfio_bind 0 release "${TRIO[@]}"
	group_is home
}

@test "a group that becomes free right after a bind has said that it is busy" {
	vfio_bind 0 handoff --group "$LPC"
	in_background taskset 1 strace -f -qqq -o "$BATS_TEST_TMPDIR/trace" -P /sys/bus/pci/drivers/lpc_ich/bind \
		-e trace=write -e inject=write:error=EBUSY:delay_exit=8s:when=1 vfio-bind release "$LPC"
	until_true 20 has_open /sys/bus/pci/drivers/lpc_ich/bind
	echo "${AHCI#*/}" >/sys/bus/pci/drivers/vfio-pci/unbind
	echo "${SMBUS#*/}" >/sys/bus/pci/drivers/vfio-pci/unbind
	ended "$pid" 0
	is_home "$LPC" lpc_ich
	vfio_bind 0 release "$AHCI" "$SMBUS"
	group_is home
}

@test "a group parked whole" {
	local member
	vfio_bind 0 handoff --group "$LPC" none
	for member in "${TRIO[@]}"; do device_is "$member" none none; done
	vfio_bind 0 release --group "$LPC"
	group_is home
}

@test "members without a driver, or on pci-stub, are in nobody's way" {
	modprobe pci-stub
	vfio_bind 0 handoff "$LPC" none
	vfio_bind 0 handoff "$SMBUS" pci-stub
	device_is "$SMBUS" pci-stub pci-stub
	vfio_bind 0 handoff "$AHCI"
	run -0 vfio-open "$group" "${AHCI#*/}"
	vfio_bind 0 release --group "$AHCI"
	group_is home
}

@test "a member that is in use: none is touched" {
	mkfs.ext4 -q /dev/sda
	mount /dev/sda "$BATS_TEST_TMPDIR"
	vfio_bind 3 handoff --group "$LPC"
	says "0000:00:1f.2: in use: sda is mounted on $BATS_TEST_TMPDIR"
	says "0000:00:1f.0: another device of its IOMMU group cannot be taken: nothing was touched"
	says "0000:00:1f.3: another device of its IOMMU group cannot be taken: nothing was touched"
	umount "$BATS_TEST_TMPDIR"
	group_is home
}

@test "a member that cannot be reset, and must be: none is touched" {
	vfio_bind 1 handoff --group --reset=always "$LPC"
	says "cannot be reset: it has no reset attribute"
	group_is home
}

@test "a member that another command has locked: none is touched, and it is named" {
	vfio_bind 0 release "$AHCI" # makes the lock
	exec {lock}<"/run/vfio-bind/lock/$(tr / : <<<"$AHCI")"
	flock "$lock"
	vfio_bind 3 handoff --group -t 1 "$LPC"
	says "0000:00:1f.2: timed out: locked by"
	says "0000:00:1f.0: timed out: nothing was touched"
	says "0000:00:1f.3: another device of its IOMMU group cannot be taken: nothing was touched"
	exec {lock}<&-
	group_is home
}

@test "a held member: nobody of its group is to be had, nor goes home" {
	local member
	vfio_bind 0 handoff --group "$LPC"
	hold "$group" "$LPC"
	for member in "${TRIO[@]}"; do
		vfio_bind 3 release -t 1 "$member"
		says "${member#*/}: timed out: held by vfio-open (pid $holder)"
		vfio_bind 3 handoff -t 1 "$member"
		says "${member#*/}: timed out: held by vfio-open (pid $holder)"
	done
	vfio_bind 3 release -t 1 --group "$AHCI"
	vfio_bind 3 handoff -t 1 --group "$AHCI"
	group_is taken
	let_go
	vfio_bind 0 release --group "$AHCI"
	group_is home
}

@test "a parked member does not go home while another one is held" {
	vfio_bind 0 handoff "$LPC" none
	vfio_bind 0 handoff "$SMBUS" none
	vfio_bind 0 handoff "$AHCI"
	hold "$group" "$AHCI"
	vfio_bind 3 release -t 1 "$SMBUS"
	says "0000:00:1f.3: timed out: its IOMMU group is held by vfio-open (pid $holder)"
	device_is "$SMBUS" none none
	# It waits for the holder, not for luck.
	vfio-bind release "$SMBUS" 3>&- &
	until_true 10 pgrep -x vfio-bind
	let_go
	wait $!
	is_home "$SMBUS" i801_smbus
	device_is "$AHCI" vfio-pci vfio-pci
}

@test "a bridge stays, and does not block; it is not to be had" {
	vfio_bind 0 handoff --group "$NIC_BELOW"
	device_is "$NIC_BELOW" vfio-pci vfio-pci
	device_is "$BRIDGE" pcieport "(null)"
	run -0 vfio-open "/dev/vfio/$(group_of "$BRIDGE")" "${NIC_BELOW#*/}"
	vfio_bind 0 release --group "$NIC_BELOW"
	is_home "$NIC_BELOW" e1000e
	for driver in vfio-pci none; do
		vfio_bind 3 handoff "$BRIDGE" "$driver"
		says "0000:00:14.0: it is a PCI bridge"
	done
	vfio_bind 3 handoff --force "$BRIDGE"
	is_home "$BRIDGE" pcieport
}

@test "release --group leaves what others have taken" {
	echo none >"$(syspath "$SMBUS")/driver_override"
	echo "${SMBUS#*/}" >"$(syspath "$SMBUS")/driver/unbind"
	vfio_bind 0 handoff --driver=auto "$LPC" "$AHCI"
	vfio_bind 0 release --group "$SMBUS"
	device_is "$SMBUS" none none
	is_home "$LPC" lpc_ich
	is_home "$AHCI" ahci
}

@test "list --group shows what must go together" {
	run -0 vfio-bind list --group -o DEVICE,DRIVER,GROUP "$AHCI"
	says "group ${group##*/}"
	says "0000:00:1f.0 lpc_ich"
	says "0000:00:1f.2 ahci"
	says "0000:00:1f.3 i801_smbus"
	((${#lines[@]} == 5)) # with the headings
	run -0 vfio-bind list --group -nro DEVICE,DRIVER "$NIC_BELOW"
	[[ $output == "0000:00:14.0 pcieport"$'\n'"0000:01:00.0 e1000e" ]]

	# The name of a group stands where those of devices do, and in JSON nowhere.
	run -0 vfio-bind list --group -no DRIVER,DEVICE "$AHCI"
	[[ ${lines[0]} == *"group ${group##*/}"* && ${lines[1]} == "lpc_ich "*"0000:00:1f.0"* ]]
	run -0 vfio-bind list --group --json -o DRIVER,GROUP "$AHCI"
	[[ $(jq -c '.devices[0] | del(.children)' <<<"$output") == \
		"{\"driver\":null,\"group\":\"${group##*/}\"}" ]]

	# All of them: below each group just the members that the kernel tells.
	run -0 vfio-bind list --group --json --bus=pci
	[[ $(jq -r '.devices[] | .group as $group | .children[] | "\($group) \(.device)"' <<<"$output" | sort) == \
		"$(for path in /sys/kernel/iommu_groups/*/devices/*; do
			number=${path#/sys/kernel/iommu_groups/}
			echo "${number%%/*} ${path##*/}"
		done | sort)" ]]
}
