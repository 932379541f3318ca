#!/usr/bin/env bats
# Many commands at once at one IOMMU group: with all of it, and with single members. None
# waits for ever for what another one has.

load ../helpers

: "${pid=}" # in_background sets it

setup_file() {
	modprobe vfio-pci
}

teardown() {
	end_background
	vfio-bind release --all
	put_home "${TRIO[@]}"
	home "$NVME" nvme
}

# contender END FILE COMMAND...: runs each COMMAND, of words, in turn until END, and once at
# least. What was neither done nor refused, or took too long, goes to FILE.bad; and what
# was refused to FILE.refused.
contender() {
	local said status command
	local -a counts=()
	while :; do
		for command in "${@:3}"; do
			status=0
			# shellcheck disable=SC2086 # words
			said=$(timeout -k 5 600 vfio-bind $command -t 500 2>&1) || status=$?
			counts[status]=$((${counts[status]:-0} + 1))
			((status != 3)) || echo "$command: $said" >>"$2.refused"
			[[ $status == [013] ]] || echo "$command: status $status: $said" >>"$2.bad"
		done
		((SECONDS < $1)) || break
	done
	for status in "${!counts[@]}"; do echo "$status ${counts[status]}"; done >"$2"
}

# contend COMMAND...: one process for each, with COMMANDs separated by commas. What they
# ended with is in total.
contend() {
	local i=0 status count end=$((SECONDS + ${CONTEND_SECONDS:-12})) commands file
	total=()
	for commands in "$@"; do
		IFS=, read -ra commands <<<"$commands"
		contender "$end" "$BATS_TEST_TMPDIR/$i" "${commands[@]}" 3>&- &
		background+=($!)
		i=$((i + 1))
	done
	for i in "${background[@]}"; do wait "$i"; done
	background=()
	for file in "$BATS_TEST_TMPDIR"/[0-9]; do
		while read -r status count; do
			total[status]=$((${total[status]:-0} + count))
		done <"$file"
	done
	for status in "${!total[@]}"; do
		echo "# status $status: ${total[status]} commands of $# processes" >&3
	done
	if cat "$BATS_TEST_TMPDIR"/*.bad 2>/dev/null; then return 1; fi
	kernel_is_content
}

@test "commands at a whole group from all its members: all or none each time, and all end" {
	local i group=()
	for i in 0 1 2; do
		# From different members on: the locks are taken in one order all the same.
		group+=("handoff --force -g ${TRIO[i]},release -g ${TRIO[2 - i]}")
		group+=("release -g ${TRIO[i]},handoff --force -g ${TRIO[i]}")
	done
	contend "${group[@]}"
	# They wait for each other, and are done: nobody else has a part of the group.
	if cat "$BATS_TEST_TMPDIR"/*.refused 2>/dev/null; then return 1; fi
	((${#total[@]} == 1 && total[0] >= 12))
	vfio_bind 0 release --group "$AHCI"
	group_is home
}

# Linux 6.1 would make their group twice.
@test "a member is not bound to VFIO while another one is: it waits, and gives up in time" {
	local lock=/run/vfio-bind/lock/iommu_group:
	lock+=$(group_of "$NVME")
	vfio_bind 0 release "$NVME" # makes the folder
	exec {fd}>"$lock"
	flock "$fd"
	vfio_bind 1 handoff -t $((2 * DEADLINE)) "$NVME"
	says "cannot bind to vfio-pci: until the deadline "
	says "another member of its IOMMU group was being bound; it is back on nvme, not flagged"
	is_home "$NVME" nvme
	in_background vfio-bind handoff "$NVME" {fd}>&-
	until_true 30 driver_is "$NVME" none
	exec {fd}>&-
	ended "$pid" 0
	device_is "$NVME" vfio-pci vfio-pci
}

@test "commands at a group and at its members, in any order: none waits for ever" {
	contend "handoff --force -g $LPC,release -g $AHCI" "release -g $SMBUS,handoff --force -g $SMBUS" \
		"handoff $SMBUS none,release $SMBUS" "handoff --force $AHCI,release $AHCI" \
		"handoff --force -d auto $SMBUS $LPC $AHCI,release $SMBUS $AHCI $LPC"
	((total[0] > 0))
	run ! grep -h "timed out" "$BATS_TEST_TMPDIR"/*.refused
	vfio_bind 0 release --group "$AHCI"
	group_is home
}
