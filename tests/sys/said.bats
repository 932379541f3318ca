#!/usr/bin/env bats
# What is said, of whom, and to whom: no name is believed, and no list hides what follows it.

# shellcheck disable=SC2154 # sys.bash sets holder, status and output
load sys

NODE=/dev/vfio/devices/vfio0

setup_file() {
	# Under ptrace, LeakSanitizer does not work.
	export ASAN_OPTIONS=$NO_LEAKS
}

# with_node: there is one of the VF that VFIO has, which nobody has open.
with_node() {
	changing
	: >$NODE
	mount --bind /dev/full $NODE
}

# with_group: it has a group instead; its node is not there yet.
with_group() {
	none "$PCI/0000:00:05.2/vfio-dev"
	folder /sys/class/vfio/9
	echo 1:7 >/sys/class/vfio/9/dev
}

teardown() {
	((${#others[@]} == 0)) || kill "${others[@]}" 2>/dev/null || :
	others=()
	let_go
	umount $NODE /dev/vfio/9 2>/dev/null || :
	rm -rf $NODE /dev/vfio/9
}

# holds NODE COMM...: a process for each that has it open, and calls itself so. Pids in $others.
others=()
holds() {
	local node=$1 comm
	for comm in "${@:2}"; do
		perl -e 'open my $node, "<", shift or die; $0 = shift; $| = 1; print "x"; sleep 600' \
			"$node" "$comm" >"$MADE_UP/ready" 3>&- &
		others+=($!)
		until [[ -s $MADE_UP/ready ]]; do kill -0 $!; done
		: >"$MADE_UP/ready"
	done
}

# bats test_tags=slow
@test "a part of a list that is lost in the middle is no success" {
	local out=$MADE_UP/list
	: >"$out"
	# shellcheck disable=SC2016 # its bash expands it
	run -1 strace -qqq -o "$MADE_UP/trace" -e trace=write -P "$out" \
		-e inject=write:error=EAGAIN:when=1 bash -c 'exec vfio-bind list -J -o +PATH,MODALIAS,USE >"$0"' "$out"
	[[ $output == "vfio-bind: "*": Input/output error" && -s $out ]]
}

@test "a process cannot forge a pid, another process or what is on the terminal by its name" {
	local json
	promise "in a message"
	with_node
	holds $NODE 'x (pid 1), init'
	expect 3 "vfio-bind: 0000:00:05.2: timed out: held by x ?pid 1?? init (pid ${others[0]})
vfio-bind: hint: it is free when that process closes it or ends" release -n -t 0.01 00:05.2

	promise "in the list, and in its JSON"
	with_node
	holds $NODE $'\xff\xfe\xc3' $'a\x9b31m' $'\xc2\x9b1m' $'b\nc"' ''
	vfio_bind list -J -o HOLDER 00:05.2
	((status == 0))
	json='"??? (pid '${others[0]}'), a?31m (pid '${others[1]}'), ??1m (pid '${others[2]}'), b?c? (pid '${others[3]}')'
	[[ $output == *"\"holder\": $json"* ]]
	perl -MJSON::PP -e 'local $/; decode_json <STDIN>' <<<"$output"
	vfio_bind list -rno HOLDER 00:05.2
	[[ $output != *[$'\x80'-$'\xff']* ]]
}

@test "JSON is UTF-8, whatever a flag, a driver or a model is called" {
	changing
	printf 'a\xff\xc3\xa4\xc2\x9b' >"$NVME/driver_override"
	vfio_bind list -J -o DEVICE,OVERRIDE 00:10.0
	((status == 0))
	[[ $output == *$'"override": "a?\xc3\xa4??"'* ]]
	perl -MJSON::PP -e 'local $/; decode_json <STDIN>' <<<"$output"
	expect 0 $'0000:00:10.0 a?\\xc3\\xa4??' list -rno DEVICE,OVERRIDE 00:10.0
}

# follow SAID: does what the hint at its end says behind its colon.
follow() { bash -ec "${1##*"vfio-bind: hint: to "*": "}"; }

@test "a hint is a command for a shell, also of a name that has a blank" {
	local path="/sys/devices/platform/Fixed MDIO bus.0" record="/run/vfio-bind/record/platform:Fixed MDIO bus.0"
	local name="Fixed MDIO bus.0"
	folder "$path"
	link "$path/subsystem" /sys/bus/platform
	link "/sys/bus/platform/devices/$name" "$path"
	: >"$path/driver_override"

	mkdir -p "${record%/*}"
	echo bad | tee "$record" >"${record%/*}/a b"
	vfio_bind pin "$name"
	[[ $status == 1 && $output == *$'\n'"vfio-bind: hint: to go on without knowing where it was: rm '$record'" ]]
	follow "$output"
	vfio_bind release --all
	[[ $status == 1 && $output == *$'\n'"vfio-bind: hint: to go on without it: rm '${record%/*}/a b'" ]]
	follow "$output"
	expect 0 "" release --all

	status=0
	output=$(strace -qqqf -o "$MADE_UP/trace" -e trace=write -P "$path/driver_override" \
		-e inject=write:signal=KILL vfio-bind pin "$name" 2>&1) || status=$?
	[[ $status == 4 && $output == *"vfio-bind: hint: to put it back: vfio-bind release 'platform/$name'" ]]
	follow "$output"
	[[ ! -e $record ]]
	# The kernel, which is not there, would have to choose.
	vfio_bind release "$name"
	[[ $status == 1 && $output == *"vfio-bind: hint: to try again: vfio-bind release 'platform/$name'" ]]
}

@test "C1 control characters, and what is no UTF-8, of an argument are refused" {
	local text
	for text in $'a\xc2\x9b31mb' $'\xc2\x85' $'a\xe2\x80\xae1'; do
		for option in '' --driver= --reset= --output= --timeout= -t --; do
			vfio_bind handoff "$option$text" 00:10.0
			[[ $status == 2 && $output == "vfio-bind: control character in '$option"*"??"*"'" ]]
		done
	done
	for text in $'a\x9b31mb' $'\xff' $'a\xc3'; do
		vfio_bind "$text"
		[[ $status == 2 && $output == "vfio-bind: no UTF-8 in '"*"?"*"'" ]]
	done
	# What a message quotes of an argument is cut, but not within a character.
	text=$(printf 'x%.0s' {1..63})$'\xe2\x82\xac'
	vfio_bind "$text"
	[[ $status == 2 && $output == *"xxx?'"* ]]
	expect 2 $'vfio-bind: \xc3\xa4: no such device' pin -n $'\xc3\xa4'
}

# bats test_tags=slow
@test "a list of sixty holders ends at a name, and how the device is stands behind it" {
	local i names=()
	with_node
	for ((i = 0; i < 60; i++)); do names+=("n$i"); done
	holds $NODE "${names[@]}"
	vfio_bind release -n -t 0.01 00:05.2
	((status == 3))
	[[ $output =~ "held by n0 (pid ${others[0]}), n1 "(.*)" (pid "[0-9]+") and "([0-9]+)" more"$'\n'"vfio-bind: hint: it is free" ]]
	(($(grep -o '(pid' <<<"$output" | wc -l) + BASH_REMATCH[2] == 60))
	((${#output} < 700))

	# All of them, for who asks.
	vfio_bind list -rno HOLDER 00:05.2
	(($(grep -o '(pid' <<<"$output" | wc -l) == 60))
}

@test "ARGP_HELP_FMT of the environment is not obeyed" {
	local text
	vfio-bind list --help >"$MADE_UP/help"
	for text in rmargin=3 'nonsense=1,,' short-opt-col=70,long-opt-col=70 usage-indent=-1; do
		# argp itself would never end with some.
		ARGP_HELP_FMT=$text timeout 20 vfio-bind list --help >"$MADE_UP/output" 2>&1
		cmp "$MADE_UP/help" "$MADE_UP/output"
	done
}

@test "HOLDER is ? when it could not be looked" {
	# With hidepid, root without this capability cannot see all.
	run -3 unshare -m bash -c "mount -t proc -o hidepid=ptraceable vb /proc
		setpriv --bounding-set=-sys_ptrace vfio-bind list -nro DEVICE,HOLDER 00:05.2 00:10.0"
	[[ $(sort <<<"$output") == "0000:00:05.2 ?
0000:00:10.0 ?
vfio-bind: cannot tell who has it open: /proc does not show all processes" ]]
}

# bats test_tags=slow
@test "a VFIO group whose node cannot be opened here is not free" {
	local command
	promise "there is none in this /dev"
	with_group
	for command in handoff release 'handoff -f'; do
		# shellcheck disable=SC2086
		expect 3 "vfio-bind: 0000:00:05.2: cannot tell who holds it: /dev/vfio/9: No such file or directory" \
			$command -n 00:05.2
	done

	promise "it is not for this process to open"
	with_group
	: >/dev/vfio/9
	mount --bind /dev/full /dev/vfio/9
	expect 0 "$(vfio-bind release -n 00:05.2)" release -n 00:05.2
	run -3 strace -qqqf -o /dev/null -e trace=openat -P /dev/vfio/9 -e inject=openat:error=EPERM \
		vfio-bind release -n 00:05.2
	[[ $output == *"cannot tell who holds it: /dev/vfio/9: Operation not permitted" ]]
	# EBUSY is another thing, and that VFIO has no device of it any more, too.
	run -3 strace -qqqf -o /dev/null -e trace=openat -P /dev/vfio/9 -e inject=openat:error=EBUSY \
		vfio-bind release -n -t 5 00:05.2
	[[ $output == *"timed out: held by "* ]]
	run -0 strace -qqqf -o /dev/null -e trace=openat -P /dev/vfio/9 -e inject=openat:error=ENODEV \
		vfio-bind release -n 00:05.2

	promise "it is another one of that name"
	with_group
	: >/dev/vfio/9
	expect 3 "vfio-bind: 0000:00:05.2: cannot tell who holds it: /dev/vfio/9: No such device or address" \
		release -n 00:05.2
}

@test "a group that goes while it is looked at: its node first, and then its name in /sys" {
	local pid
	with_group
	strace -qqqf -o "$MADE_UP/trace" -e trace=openat -P /dev/vfio/9 \
		vfio-bind release -n 00:05.2 >"$MADE_UP/output" 2>&1 3>&- &
	pid=$!
	until grep -qs ENOENT "$MADE_UP/trace"; do kill -0 $pid; done
	none /sys/class/vfio/9
	wait $pid
}

@test "a device's own node that is not in this /dev is looked for all the same" {
	with_node
	hold $NODE
	umount -l $NODE
	rm $NODE
	expect 3 "vfio-bind: 0000:00:05.2: timed out: held by sleep (pid $holder)
vfio-bind: hint: it is free when that process closes it or ends" release -n -t 0.01 00:05.2
}

# pins ARGUMENT...: a pin of the disk under strace with these. Sets status and output.
pins() {
	local arguments=("$@")
	rm -rf /run/vfio-bind
	: >"$NVME/driver_override"
	changing
	status=0
	output=$(strace -qqqf -o "$MADE_UP/trace" "${arguments[@]}" vfio-bind pin -t 20 00:10.0 pci-stub 2>&1) || status=$?
}

# pinned_as_said: status and state agree.
pinned_as_said() {
	case $status in
	0) [[ $(<"$NVME/driver_override") == pci-stub && -e /run/vfio-bind/record/pci:0000:00:10.0 ]] ;;
	4) [[ $output == *$'\n'"vfio-bind: hint: to put it back: vfio-bind release pci/0000:00:10.0" ]] &&
		[[ -e /run/vfio-bind/record/pci:0000:00:10.0 ]] ;;
	[13]) [[ ! $(<"$NVME/driver_override") && ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]] ;;
	*) false ;;
	esac
}

# bats test_tags=slow
@test "a message of a worker that cannot be sent is not dropped in silence" {
	local n
	promise "once: it is sent again"
	for ((n = 1; ; n++)); do
		pins -e trace=sendmsg -e inject=sendmsg:error=ENOBUFS:when=$n
		[[ $status == 0 && ! $output ]]
		pinned_as_said
		grep -q INJECTED "$MADE_UP/trace" || break
	done
	((n > 3))

	promise "never again: the status says how the device is, all the same"
	for ((n = 1; ; n++)); do
		pins -e trace=sendmsg -e inject=sendmsg:error=ENOBUFS:when=$n+
		echo "$n: $status $output"
		pinned_as_said
		[[ $output != *"was killed"* ]]
		((status == 0)) || [[ $output == "vfio-bind: 0000:00:10.0: "* ]]
		grep -q INJECTED "$MADE_UP/trace" || break
	done
	((n > 3))
}

@test "a worker was killed only if it was" {
	pins -e trace=setsid -e inject=setsid:signal=KILL
	[[ $status == 1 && $output =~ ^"vfio-bind: 0000:00:10.0: its worker (pid "[0-9]+") was killed by SIGKILL"$ ]]
	pins -e trace=chdir -e inject=chdir:error=EIO
	[[ $status == 1 && $output =~ ^"vfio-bind: 0000:00:10.0: its worker (pid "[0-9]+") could not tell what went wrong"$ ]]
	# Who ignores the end of children hears nothing of it.
	rm -rf /run/vfio-bind
	status=0
	output=$(perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' strace -qqqf -o /dev/null -e trace=chdir \
		-e inject=chdir:error=EIO vfio-bind pin 00:10.0 pci-stub 2>&1) || status=$?
	[[ $status == 1 && $output =~ "its worker (pid "[0-9]+") has ended without a word"$ ]]
}

# bats test_tags=slow
@test "a device that is unplugged on the way: that is said, and no hint to release it" {
	local pid
	changing
	rm -rf /run/vfio-bind
	: >"$NVME/driver_override"
	strace -qqqf -o "$MADE_UP/trace" -e trace=write -P "$NVME/driver_override" \
		-e inject=write:delay_exit=2s vfio-bind pin 00:10.0 pci-stub >"$MADE_UP/output" 2>&1 3>&- &
	pid=$!
	until [[ $(<"$NVME/driver_override") == pci-stub ]]; do sleep 0.02; done
	none "$NVME"
	status=0
	wait $pid || status=$?
	cat "$MADE_UP/output" "$MADE_UP/trace"
	((status == 4))
	[[ $(<"$MADE_UP/output") == "vfio-bind: 0000:00:10.0: "*"; it was unplugged" ]]
	[[ ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
}

# bats test_tags=slow
@test "another vfio-bind is known by its lock, not by its name" {
	with_group
	: >/dev/vfio/9
	mount --bind /dev/full /dev/vfio/9
	# A child of the command's, that has the name of its workers, and a lock that is none of theirs.
	mkdir -p /run/vfio-bind/lock
	: >/run/vfio-bind/lock/pci:0000:00:05.1
	# shellcheck disable=SC2016 # for perl
	status=0
	output=$(perl -e 'if (!($pid = fork)) { open my $node, "<", "/dev/full"; open my $lock, ">", "$ENV{MADE_UP}/lock"; flock $lock, 2; close STDOUT; close STDERR; $0 = "vfio-bind"; sleep 600 }
		$| = 1; print "$pid\n"; exec @ARGV' strace -D -qqqf -o /dev/null -e trace=openat -P /dev/vfio/9 \
		-e inject=openat:error=EBUSY vfio-bind release -n -t 1 00:05.2 2>&1 3>&-) || status=$?
	[[ $output =~ ^([0-9]+)$'\n' ]]
	kill "${BASH_REMATCH[1]}"
	((status == 3))
	[[ $output == *"timed out: held by vfio-bind (pid ${BASH_REMATCH[1]})"* ]]
}

@test "PID namespaces: nothing is begun as the init of one, or with another one's /proc" {
	: >"$NVME/driver_override"
	run -3 unshare -pf --mount-proc vfio-bind pin 00:10.0 pci-stub
	[[ $output == "vfio-bind: 0000:00:10.0: it would be the init of a PID namespace, which ends only when its workers do, and kills them: nothing was touched
vfio-bind: hint: start it from another process there, that stays" ]]
	for option in -p -pf; do
		run -3 unshare $option vfio-bind pin 00:10.0 pci-stub
		[[ $output == "vfio-bind: 0000:00:10.0: /proc or its workers would be of another PID namespace: nothing was touched
vfio-bind: hint: unshare needs --fork and --mount-proc" ]]
	done
	[[ ! $(<"$NVME/driver_override") ]]
	# Below its init all is as usual; nor does a dry run need to be outlived.
	unshare -pf --mount-proc bash -c 'vfio-bind pin 00:10.0 pci-stub; exit $?'
	[[ $(<"$NVME/driver_override") == pci-stub ]]
	unshare -pf --mount-proc vfio-bind release -n 00:10.0
	unshare -p vfio-bind list 00:10.0
}
