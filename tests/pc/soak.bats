#!/usr/bin/env bats
# Twenty processes at the group of three, a NIC and a VF, with all commands, while one sends
# signals to whichever vfio-bind it sees, the last one among them. Ten seconds here; by make
# check-faults ten minutes, or SOAK seconds.

# sweep.bash and faults.bash use and set them.
# shellcheck disable=SC2034,SC2154

load ../helpers
load ../sweep
load ../faults

VF=pci/0000:00:05.1
HOST_DRIVER["$VF"]=nvme
ALL=("${TRIO[@]}" "$PCI_NIC" "$VF")

case ${FAULTS:-} in
'') SOAK=${SOAK:-10} ;;
*) SOAK=${SOAK:-600} ;;
esac

setup() {
	modprobe vfio-pci
	vfs 1
	bind_vf "$VF"
	device=$PCI_NIC
	fault_defaults
	members=("${ALL[@]}") child=''
	hurry 1
}

teardown() {
	end_shell
	hurry 0
	end_background
	vfio-bind release --all
	no_vfs
	put_home "${TRIO[@]}" "$PCI_NIC"
}

# peak_of_list: sets peak, the most memory that a list takes, in KiB, until near its end.
peak_of_list() {
	local list=(vfio-bind list -o "+HOST,USE") word process changes=0 others=0
	ran kill-at count "${list[@]}" || return
	for word in "${out[@]}"; do
		[[ $word != "calls 1 "* ]] || read -r _ _ changes others _ <<<"$word"
	done
	# shellcheck disable=SC2016 # kill-at's shell expands it
	ran kill-at 1 'wait:grep VmHWM: /proc/$KILL_AT_PID/status' $(((changes + others) * 19 / 20)) "${list[@]}" || return
	for word in "${out[@]}"; do
		[[ $word != VmHWM:* ]] || read -r _ peak _ <<<"$word"
	done
}

# one_of TEXT...: sets chosen.
one_of() {
	chosen=${*:RANDOM % $# + 1:1}
}

# user NUMBER END: runs commands by chance until then. Counts their statuses in a file, and notes
# those that there are none of in NUMBER.bad.
user() {
	local -a counts=()
	local status said file=$BATS_TEST_TMPDIR/user.$1
	RANDOM=$((SEED + $1))
	while ((SECONDS < $2)); do
		one_of "handoff --force -g $AHCI" "release -g $SMBUS" "handoff --force -g $LPC none" \
			"handoff $PCI_NIC" "release $PCI_NIC" "pin $PCI_NIC" "handoff $VF" "release $VF" \
			"pin $VF vfio-pci" "handoff -d auto $PCI_NIC $VF" "release ${ALL[*]}" "release --all" \
			"list" "list -J $AHCI $VF" "list --taken -o +HOST,USE"
		[[ $chosen == list* ]] || chosen+=" -t 20"
		status=0
		# shellcheck disable=SC2086 # words
		said=$(timeout -k 5 200 vfio-bind $chosen 2>&1) || status=$?
		counts[status]=$((${counts[status]:-0} + 1))
		case $status in
		0 | 1 | 3 | 4 | 129 | 130 | 131 | 137 | 143) ;;
		*) echo "$chosen: status $status: $said" >>"$file.bad" ;;
		esac
	done
	for status in "${!counts[@]}"; do echo "$status ${counts[status]}"; done >"$file"
}

# murderer END: sends signals until then. It forks nothing: it would not get far beside twenty.
murderer() {
	local -i sent=0
	local dir name
	RANDOM=$((SEED + 100))
	while ((SECONDS < $1)); do
		for dir in /proc/[0-9]*; do
			# All that the users start come after this one; and it may have ended.
			if ((${dir##*/} > BASHPID)) && { read -r name <"$dir/comm"; } 2>/dev/null &&
				[[ $name == vfio-bind ]] && ((RANDOM % 3 == 0)); then
				one_of INT TERM HUP QUIT KILL
				! kill "-$chosen" "${dir##*/}" 2>/dev/null || sent+=1
			fi
		done
	done
	echo "$sent" >"$BATS_TEST_TMPDIR/sent"
}

@test "a soak: twenty processes, all commands, signals and kills" {
	local i end before after peak=0 status count sum=0 text='' chosen
	local -a total=()
	peak_of_list
	before=$peak
	end=$((SECONDS + SOAK))
	for ((i = 0; i < 20; i++)); do
		user $i $end 3>&- &
		background+=($!)
	done
	murderer $end 3>&- &
	background+=($!)
	for i in "${background[@]}"; do wait "$i"; done
	background=()
	until_true 120 nobody_works
	for ((i = 0; i < 20; i++)); do
		while read -r status count; do
			total[status]=$((${total[status]:-0} + count)) sum=$((sum + count))
		done <"$BATS_TEST_TMPDIR/user.$i"
	done
	for status in "${!total[@]}"; do text+=" $status: ${total[status]},"; done
	peak_of_list
	after=$peak
	echo "# $SOAK s, $sum commands; by status$text $(<"$BATS_TEST_TMPDIR/sent") signals;" \
		"a list takes $before KiB at first, $after in the end" >&3
	run ! cat "$BATS_TEST_TMPDIR"/user.*.bad
	(($(<"$BATS_TEST_TMPDIR/sent") > 0))

	vfio_bind 0 release --all
	vfio_bind 0 release "${ALL[@]}"
	all_are is_at_home
	nobody_locks
	run ! compgen -G '/run/vfio-bind/record/*'
	run ! compgen -G '/run/vfio-bind/*:*'
	((before > 1000 && after < before * 11 / 10))
	kernel_is_content
}
