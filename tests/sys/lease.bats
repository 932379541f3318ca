#!/usr/bin/env bats
# A lease: COMMAND, its start, its signals and its end. It is real here, of a device that needs
# no move: without a driver and parked, as its record says that it was before.

# Much of it is for the shell of a COMMAND.
# shellcheck disable=SC2016,SC2030,SC2031

load sys

LOCK=/run/vfio-bind/lock/pci:0000:00:10.0 RECORD=/run/vfio-bind/record/pci:0000:00:10.0

setup_file() {
	# Under ptrace, LeakSanitizer does not work.
	export ASAN_OPTIONS=$NO_LEAKS
}

# parked: the disk is; and its release has only the record to remove.
parked() {
	driver 0000:00:10.0 ''
	attribute "$NVME/driver_override" none
	record pci:0000:00:10.0 "$NVME" "driver_override none"
}

# home: the release was made, and nobody has the lock.
home() {
	[[ ! -e $RECORD ]] || { echo "it was not released" && return 1; }
	flock -n "$LOCK" true || { echo "it is locked still" && return 1; }
}

# leased STATUS TEXT COMMAND...: runs that in a lease, and then the disk is home.
leased() {
	parked
	expect "$1" "$2" handoff 00:10.0 none -- "${@:3}"
	home
}

# start COMMAND...: the same in the background, by the program itself, with the signals of a
# terminal's job. Sets lessor.
start() {
	rm -f "$MADE_UP/ready"
	: >"$MADE_UP/output"
	parked
	env --default-signal=INT,QUIT vfio-bind handoff 00:10.0 none -- "$@" \
		</dev/null >>"$MADE_UP/output" 2>&1 3>&- 4>&- &
	lessor=$!
}

# sleeper TEXT: a shell's that tells that it is ready: its pid is in the file. It sleeps as a
# child, which a trap can interrupt.
sleeper() { echo "$1"' echo $$ >/run/made-up/ready; while :; do sleep 100 & wait $!; done'; }

# await COMMAND...: until it is true, but not for ever.
await() {
	local i
	for ((i = 0; i < 1000; i++)); do
		if "$@"; then return; fi
		sleep 0.02
	done
	echo "waited for in vain: $*"
	cat "$MADE_UP/output"
	return 1
}

ready() {
	await test -s "$MADE_UP/ready"
	read -r command <"$MADE_UP/ready"
}

# ended STATUS TEXT: what runs in the background does so, and said that.
ended() {
	status=0
	wait "$lessor" || status=$?
	output=$(<"$MADE_UP/output")
	if [[ $status != "$1" || $output != *"$2"* ]]; then
		printf '%s\n' "status $status, not $1; it said:" "$output" "and not:" "$2"
		return 1
	fi
}

at_home() { home >/dev/null; }
is_gone() { [[ ! -d /proc/$1 ]]; }
# Those of other tests that run meanwhile are in other mount namespaces.
nobody_works() { ! pgrep --ns $$ --nslist mnt -x vfio-bind >/dev/null; }

# worker: prints the pid of the one who has the lock.
worker() {
	awk -v "inode=$(stat -c %i "$LOCK")" \
		'$2 == "FLOCK" && $6 ~ ":" inode "$" { print $5 }' /proc/locks
}

teardown() {
	[[ ! ${command-} ]] || kill -KILL "$command" 2>/dev/null || :
	pkill --ns $$ --nslist mnt -KILL -x 'sleep|script' || :
	umount /dev/vfio/devices/vfio0 2>/dev/null || :
	rm -f "$MADE_UP/dev/vfio/devices/vfio0"
	let_go
	await nobody_works
}

@test "COMMAND is looked for before anything is touched" {
	promise "not there: 127; there, but it cannot be run: 126"
	expect 127 "vfio-bind: nix: command not found: nothing was touched" handoff 00:10.0 none -- nix
	expect 127 "vfio-bind: /nix: command not found: nothing was touched" handoff 00:10.0 none -- /nix
	expect 127 "vfio-bind: : command not found: nothing was touched" handoff 00:10.0 none -- ''
	expect 126 "vfio-bind: /etc/passwd: cannot run it: Permission denied: nothing was touched" \
		handoff 00:10.0 none -- /etc/passwd
	expect 126 "vfio-bind: /run: cannot run it: Permission denied: nothing was touched" \
		handoff -n 00:10.0 none -- /run
	expect 126 "vfio-bind: /etc/passwd/x: cannot run it: Not a directory: nothing was touched" \
		handoff -n 00:10.0 none -- /etc/passwd/x

	promise "in the folders of PATH, in their order, as execvp() does"
	changing
	mkdir -p "$MADE_UP"/{a,b}
	: >"$MADE_UP/a/tool"
	mkdir -p "$MADE_UP/a/folder"
	ln -sf "$(type -P true)" "$MADE_UP/b/tool"
	parked
	status=0
	PATH=/nix:$MADE_UP/a:$MADE_UP/b "$REAL" handoff 00:10.0 none -- tool || status=$?
	((status == 0))
	home
	PATH=$MADE_UP/a:/nix "$REAL" handoff 00:10.0 none -- tool 2>"$MADE_UP/output" || status=$?
	((status == 126))
	PATH=$MADE_UP/a "$REAL" handoff 00:10.0 none -- folder 2>"$MADE_UP/output" || status=$?
	((status == 126))
	status=0
	(cd "$MADE_UP/b" && PATH=: "$REAL" handoff -n 00:10.0 none -- tool) >"$MADE_UP/output" || status=$?
	((status == 0))

	promise "where it cannot be told whether it is there, no other one is taken for it"
	status=0
	strace -qqq -o "$MADE_UP/trace" -P "$MADE_UP/a/folder/tool" \
		-e trace=newfstatat -e inject=newfstatat:error=EIO \
		env PATH="$MADE_UP/a/folder:$MADE_UP/b" "$REAL" handoff -n 00:10.0 none -- tool 2>"$MADE_UP/output" || status=$?
	((status == 126))
	[[ $(<"$MADE_UP/output") == "vfio-bind: tool: cannot run it: Input/output error: nothing was touched" ]]
	# Where a server is gone it is not.
	local error
	for error in ESTALE ENODEV ETIMEDOUT; do
		strace -qqq -o "$MADE_UP/trace" -P "$MADE_UP/a/folder/tool" \
			-e trace=newfstatat -e inject=newfstatat:error=$error \
			env PATH="$MADE_UP/a/folder:$MADE_UP/b" "$REAL" handoff -n 00:10.0 none -- tool >"$MADE_UP/output"
	done

	promise "it passes this look, and cannot be run all the same: the device is home then"
	changing
	printf '\177ELF and no more' >"$MADE_UP/alien"
	chmod +x "$MADE_UP/alien"
	leased 126 "vfio-bind: $MADE_UP/alien: cannot run it: Exec format error" "$MADE_UP/alien"
	printf '#!/nix\n' >"$MADE_UP/alien"
	leased 127 "vfio-bind: $MADE_UP/alien: command not found" "$MADE_UP/alien"
}

@test "the status is COMMAND's, or 125" {
	promise "COMMAND's own, and its death"
	leased 0 "" true
	leased 7 "" sh -c 'exit 7'
	leased 125 "" sh -c 'exit 125'
	leased 139 "" sh -c 'kill -SEGV $$'
	leased 137 "" sh -c 'kill -KILL $$'
	# A shell knows a death from an exit.
	parked
	run bash -c '"$REAL" handoff 00:10.0 none -- sh -c "kill -TERM \$\$"; echo $?'
	[[ $output == *Terminated*143 || $output == 143 ]]

	promise "125: bad usage, in front of COMMAND"
	local usage=("--bogus" "--timeout=0" "--reset=x" "-d" "00:10.0 none x" "")
	for words in "${usage[@]}"; do
		# shellcheck disable=SC2086
		vfio_bind handoff $words -- true
		((status == 125))
	done
	expect 125 "vfio-bind: control character in 'a?b'" handoff $'a\nb' -- true
	expect 125 "vfio-bind: nix: no such device" handoff nix -- true

	promise "125: refused, and COMMAND is not run"
	expect 125 "vfio-bind: 0000:00:12.0: no IOMMU group: no IOMMU confines its DMA
vfio-bind: hint: no IOMMU of this machine is in front of it" handoff 00:12.0 -- touch "$MADE_UP/ran"
	[[ ! -e $MADE_UP/ran ]]

	promise "125: of two devices one is refused, and the other is left alone"
	parked
	vfio_bind handoff -fd none 00:10.0 00:1c.0 -- touch "$MADE_UP/ran"
	((status == 125))
	[[ $output == *"vfio-bind: 0000:00:1c.0: it is a PCI bridge"* ]]
	[[ $output == *"vfio-bind: 0000:00:10.0: another device of the lease cannot be taken: nothing was touched"* ]]
	[[ ! -e $MADE_UP/ran && -e $RECORD ]]

	promise "125: the release fails, and COMMAND's status is told"
	parked
	vfio_bind handoff 00:10.0 none -- sh -c 'rm /run/vfio-bind/record/*; exit 7'
	((status == 125))
	[[ $output == *"0000:00:10.0: cannot bind to "*"hint: to try again: vfio-bind release pci/0000:00:10.0
vfio-bind: COMMAND ended with status 7" ]]
	parked
	vfio_bind handoff 00:10.0 none -- sh -c 'rm /run/vfio-bind/record/*; kill -TERM $$'
	((status == 125))
	[[ $output == *"vfio-bind: COMMAND was killed by SIGTERM" ]]
	# The device was unplugged meanwhile.
	parked
	expect 125 "vfio-bind: 0000:00:10.0: cannot read driver_override: the device is gone; it was unplugged
vfio-bind: COMMAND ended with status 0" handoff 00:10.0 none -- rm -r "$NVME"
	[[ ! -e $RECORD ]]
	restore
	# One of the signals that have no name.
	parked
	vfio_bind handoff 00:10.0 none -- sh -c 'rm /run/vfio-bind/record/*; kill -36 $$'
	((status == 125))
	[[ $output == *"vfio-bind: COMMAND was killed by signal 36" ]]
}

@test "what COMMAND gets is what vfio-bind got" {
	promise "its arguments, byte for byte, and it is no shell's"
	leased 0 $'-n|--|-d|y|a\nb|\e[0m|*|$HOME||' printf '%s|' -n -- -d y $'a\nb' $'\e[0m' '*' '$HOME' ''
	parked
	expect 0 "printf '%s|' 00:11.1
00:11.1|" handoff -d none 00:10.0 -v -- printf '%s|' 00:11.1

	promise "its environment, and the names, paths and nodes of the devices in their order"
	parked
	link "$PCI/0000:00:05.1/iommu_group" /sys/kernel/iommu_groups/8
	attribute "$PCI/0000:00:05.1/driver_override" none
	record pci:0000:00:05.1 "$PCI/0000:00:05.1" "driver_override none"
	env -i PATH="$PATH" VFIO_BIND_DEVICES=x A=b "$REAL" handoff -d none 00:10.0 00:05.1 00:10.0 \
		-- env >"$MADE_UP/output" 2>&1
	diff <(sort "$MADE_UP/output") <(sort <<-END
		A=b
		PATH=$PATH
		VFIO_BIND_DEVICES=0000:00:10.0 0000:00:05.1
		VFIO_BIND_NODES=
		VFIO_BIND_PATHS=$NVME $PCI/0000:00:05.1
	END
	)

	promise "its files, folder and umask, what is blocked and ignored"
	local look setup='exec 5</etc/hostname 3>&- 4>&- 6<&- 7>&- 8<&- 9<&-; umask 027; trap "" USR1; '
	look='for fd in 0 1 2 3 4 5 6 7 8 9; do [ ! -e /proc/$$/fd/$fd ] || echo $fd $(readlink /proc/$$/fd/$fd); done
		pwd -P; umask; cat <&5
		while read -r line; do case $line in SigBlk*|SigIgn*) echo "$line" ;; esac; done </proc/$$/status'
	parked
	bash -c "$setup"'exec "$0" handoff 00:10.0 none -- sh -c "$1"' "$REAL" "$look" </dev/null >"$MADE_UP/seen.a"
	home
	bash -c "$setup"'exec sh -c "$1"' "$REAL" "$look" </dev/null >"$MADE_UP/seen.b"
	diff <(sed 's,seen.[ab],,' "$MADE_UP/seen.a") <(sed 's,seen.[ab],,' "$MADE_UP/seen.b")
	(($(wc -l <"$MADE_UP/seen.a") > 7))

	promise "what is closed stays closed, also for signals that are ignored"
	look='for fd in 0 1 2; do [ ! -e /proc/$$/fd/$fd ] || echo $fd; done >&5; grep SigIgn /proc/self/status >&5'
	parked
	env --ignore-signal=PIPE,INT,CHLD,ALRM,VTALRM,XFSZ bash -c 'exec 5>"$2" "$0" handoff 00:10.0 none -- sh -c "$1" <&- >&- 2>&-' \
		"$REAL" "$look" "$MADE_UP/seen.a"
	home
	env --ignore-signal=PIPE,INT,CHLD,ALRM,VTALRM,XFSZ bash -c 'exec 5>"$2" sh -c "$1" <&- >&- 2>&-' \
		"$REAL" "$look" "$MADE_UP/seen.b"
	diff "$MADE_UP/seen.a" "$MADE_UP/seen.b"
	grep -q "SigIgn:.*3003002$" "$MADE_UP/seen.b"
}

@test "a signal of a process is COMMAND's" {
	local signal

	promise "each is forwarded, every time, and nothing else happens"
	start sh -c "$(sleeper 'for s in INT QUIT TERM HUP USR1 USR2; do trap "echo got $s" $s; done;')"
	ready
	for signal in INT QUIT TERM HUP USR1 USR2 TERM; do
		kill -$signal "$lessor"
		await grep -qx "got $signal" "$MADE_UP/output"
		: >"$MADE_UP/output"
		[[ -e $RECORD ]]
	done
	kill -KILL "$command"
	ended 137 ""
	home

	promise "COMMAND dies of it: so does vfio-bind, when the device is home"
	for signal in INT:2 TERM:15 USR1:10; do
		start sh -c "$(sleeper :\;)"
		ready
		kill -"${signal%:*}" "$lessor"
		ended $((128 + ${signal#*:})) ""
		home
	done

	promise "COMMAND's trap decides the status"
	start sh -c "$(sleeper 'trap "exit 3" TERM;')"
	ready
	kill -TERM "$lessor"
	ended 3 ""
	home

	promise "one that was ignored stays so"
	rm -f "$MADE_UP/ready"
	parked
	(
		trap '' INT
		exec vfio-bind handoff 00:10.0 none -- sh -c "$(sleeper :\;)" >"$MADE_UP/output" 2>&1 3>&-
	) &
	lessor=$!
	ready
	kill -INT "$lessor" "$command"
	kill -TERM "$lessor"
	ended 143 ""
	home

	promise "between the handoff and COMMAND: it is not started, and the device is home"
	parked
	status=0
	env --default-signal=INT,QUIT strace -qqq -o "$MADE_UP/trace" -e trace=pidfd_open \
		-e inject=pidfd_open:signal=TERM vfio-bind handoff 00:10.0 none -- touch "$MADE_UP/ran" || status=$?
	((status == 143))
	[[ ! -e $MADE_UP/ran ]]
	home

	promise "the same, and it does not go home: it is not the signal that the status tells"
	driver 0000:00:10.0 nvme
	attribute "$NVME/driver_override" nvme
	record pci:0000:00:10.0 "$NVME" "driver_override none" "given nvme"
	echo 1:7 >"$NVME/nvme/nvme0/dev"
	hold /dev/full
	status=0
	# The first one is of the look for who has what open.
	env --default-signal=INT,QUIT strace -qqq -o "$MADE_UP/trace" -e trace=pidfd_open \
		-e inject=pidfd_open:signal=TERM:when=2 vfio-bind handoff 00:10.0 nvme -- touch "$MADE_UP/ran" \
		2>"$MADE_UP/output" || status=$?
	((status == 125))
	[[ $(<"$MADE_UP/output") == *"in use: /dev/nvme0 is open in sleep (pid $holder)"* ]]
	let_go

	promise "COMMAND cannot be forked, or waited for: the device is as it was"
	parked
	cp "$RECORD" "$MADE_UP/record"
	for call in pidfd_open pipe2; do
		status=0
		strace -qqq -o "$MADE_UP/trace" -e trace=$call -e inject=$call:error=EMFILE \
			vfio-bind handoff 00:10.0 none -- touch "$MADE_UP/ran" 2>"$MADE_UP/output" || status=$?
		((status == 125))
		[[ $(<"$MADE_UP/output") == *"vfio-bind: cannot start COMMAND: Too many open files"* ]]
		[[ ! -e $MADE_UP/ran ]]
		cmp "$RECORD" "$MADE_UP/record"
	done
}

@test "at a terminal COMMAND is the job" {
	local job='trap "n=\$((n + 1))" INT; trap "echo BACK" CONT; echo READY
		until [ "$n" ]; do sleep 100 & wait $!; done
		sleep 0.3; test -e '$RECORD' && echo CLEAN$n; exit 3'
	local told=$MADE_UP/output
	parked
	rm -f "$MADE_UP/keys"
	mkfifo "$MADE_UP/keys"
	: >"$told"
	JOB=$job env --default-signal=INT,QUIT script -qfc 'bash --norc --noprofile --noediting -i' /dev/null <"$MADE_UP/keys" \
		>>"$told" 3>&- 4>&- &
	exec 9>"$MADE_UP/keys"
	echo 'stty -echo; vfio-bind handoff 00:10.0 none -- sh -c "$JOB"' >&9
	await grep -q READY$'\r' "$told"
	printf '\x1a' >&9
	await grep -q Stopped "$told"
	[[ -e $RECORD ]]
	: >"$told"
	echo fg >&9
	await grep -q BACK "$told"
	printf '\x03' >&9
	await grep -q CLEAN1 "$told" # once
	echo 'echo status=$?' >&9
	await grep -q status=3 "$told"
	home
	# A script around it stops on ^C, too.
	parked
	# COMMAND has it from the terminal, and from there alone.
	echo 'bash -c '\''strace -qqq -o /run/made-up/trace -e trace=kill vfio-bind handoff 00:10.0 none' \
		'-- sh -c "echo AGAIN; exec sleep 1000"; echo ON'\' >&9
	await grep -q AGAIN "$told"
	await pgrep --ns $$ --nslist mnt -xf "sleep 1000" # a shell could lose ^C before that
	printf '\x03' >&9
	echo 'echo status=$?' >&9
	await grep -q status=130 "$told"
	run ! grep -q ON "$told"
	grep -q -- '--- SIGCHLD' "$MADE_UP/trace"
	run ! grep '^kill(' "$MADE_UP/trace"
	home
	echo exit >&9
	exec 9>&-
	wait
}

# at_terminal COMMAND...: a session's leader, which becomes it. Its keys come from fd 9.
at_terminal() {
	rm -f "$MADE_UP/ready" "$MADE_UP/keys"
	mkfifo "$MADE_UP/keys"
	: >"$MADE_UP/output"
	parked
	env --default-signal=INT,QUIT,HUP script -qfc "exec $*" /dev/null <"$MADE_UP/keys" \
		>"$MADE_UP/output" 3>&- 4>&- &
	exec 9>"$MADE_UP/keys"
}

# What tells that it is ready, and does not end by itself.
STAYS="sh -c 'echo \$\$ >/run/made-up/ready; exec sleep 600'"

@test "a signal of the terminal's that only vfio-bind gets is COMMAND's" {
	promise "a hangup, which is the session leader's"
	at_terminal "vfio-bind handoff 00:10.0 none -- $STAYS"
	ready
	pkill --ns $$ --nslist mnt -KILL -x script
	exec 9>&-
	await is_gone "$command"
	await nobody_works
	home

	promise "^C, and COMMAND is not in the process group"
	at_terminal "vfio-bind handoff 00:10.0 none -- timeout 600 $STAYS"
	ready
	is_asleep "$command" # a shell could lose it before that
	printf '\x03' >&9
	await is_gone "$command"
	exec 9>&-
	wait
	home
}

# told_of LEASE: others are refused, and told of it.
told_of() {
	local words status
	for words in "handoff 00:10.0 none" "release 00:10.0" "release --all" "pin 00:10.0" \
		"handoff -d none 00:10.0 00:05.1 -- true"; do
		status=0
		# shellcheck disable=SC2086
		vfio-bind ${words/ / -t 0.2 } >"$MADE_UP/said" 2>&1 || status=$?
		((status == (${#words} > 30 ? 125 : 3)))
		grep -qxF "vfio-bind: 0000:00:10.0: timed out: $1" "$MADE_UP/said"
		grep -qx "vfio-bind: hint: it is released when COMMAND of that lease ends" "$MADE_UP/said"
	done
}

# column: prints what list shows of the lease.
column() { vfio-bind list -no LEASE 00:10.0; }
is_leased() { [[ $(column) == "sh (pid $command)" ]]; }
no_lease() { [[ ! $(column) ]]; }
# succeeded PID: another one has taken the lease over from that worker, which is killed.
succeeded() {
	local by
	by=$(worker)
	[[ $by && $by != "$1" ]] && is_leased
}

# bats test_tags=slow
@test "while COMMAND runs nobody else gets the device" {
	local by
	start sh -c "$(sleeper :\;)"
	ready
	by=$(worker)
	[[ $(column) == "sh (pid $command)" ]]
	told_of "leased to sh (pid $command) by vfio-bind (pid $by)"
	[[ $(column) == "sh (pid $command)" && -e $RECORD ]]
	# Nor does an ordinary user see more of it than of a record.
	chmod 700 /run/vfio-bind
	kill "$command"
	ended 143 ""
	home
	[[ ! $(column) ]]
	# What is in the lock's file counts only as long as there is a lock.
	echo "1 forged" >"$LOCK"
	[[ ! $(column) ]]
	flock "$LOCK" vfio-bind release -t 0.2 00:10.0 2>"$MADE_UP/said" && false
	vfio-bind release -n 00:10.0
}

# bats test_tags=slow
@test "many leases at one device: one after the other" {
	local i pids=()
	for ((i = 0; i < 20; i++)); do
		parked
		(exec vfio-bind handoff 00:10.0 none -- sh -c \
			'echo begin $$; sleep 0.02; echo end $$' >>"$MADE_UP/log" 2>"$MADE_UP/said.$i" 3>&-) &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || (($? == 125)); done
	awk '{ if ($1 == "begin" ? open : open != $2) exit 1; open = $1 == "begin" ? $2 : "" }
		END { exit open != "" || NR < 2 }' "$MADE_UP/log"
	rm "$MADE_UP"/said.*
}

# bats test_tags=slow
@test "whoever is killed" {
	local by

	promise "vfio-bind: COMMAND goes on, its worker waits for its end, and tells the log"
	rm -f "$MADE_UP/dev/log"
	perl -MSocket -e 'socket my $s, AF_UNIX, SOCK_DGRAM, 0; bind $s, pack_sockaddr_un("/dev/log") or die;
		$| = 1; while (defined recv $s, my $text, 4096, 0) { print "$text\n" }' >"$MADE_UP/log" 3>&- &
	local log=$!
	await test -S /dev/log
	start sh -c "$(sleeper :\;)"
	ready
	by=$(worker)
	kill -KILL "$lessor"
	ended 137 ""
	is_leased
	[[ -e $RECORD ]]
	kill "$command"
	await at_home
	await grep -q "vfio-bind\[$by\]: 0000:00:10.0: released" "$MADE_UP/log"
	kill $log
	rm /dev/log

	promise "its worker: another one takes over, and it is said at once"
	start sh -c "$(sleeper :\;)"
	ready
	by=$(worker)
	kill -KILL "$by"
	await grep -q "vfio-bind: 0000:00:10.0: warning: its worker (pid $by) was killed by SIGKILL: another one (pid [0-9]*) takes over the lease" "$MADE_UP/output"
	await is_leased
	by=$(worker)
	kill "$command"
	ended 143 "another one (pid $by)"
	home

	promise "that one too, and vfio-bind: it waits for COMMAND all the same"
	start sh -c "$(sleeper :\;)"
	ready
	by=$(worker)
	kill -KILL "$by"
	await succeeded "$by"
	kill -KILL "$lessor"
	ended 137 ""
	[[ $(column) == "sh (pid $command)" ]]
	kill "$command"
	await at_home

	promise "both workers: it is said, and COMMAND goes on"
	start sh -c "$(sleeper :\;)"
	ready
	by=$(worker)
	kill -KILL "$by"
	await succeeded "$by"
	by=$(worker)
	kill -KILL "$by"
	await grep -q "(pid $by) was killed by SIGKILL$" "$MADE_UP/output"
	kill -0 "$lessor" "$command"
	kill "$command"
	ended 125 "hint: to put it back: vfio-bind release pci/0000:00:10.0
vfio-bind: COMMAND was killed by SIGTERM"
	vfio-bind release 00:10.0
	home

	promise "its worker, and who takes over cannot begin: how to put it back"
	local free=0
	start sh -c "$(sleeper :\;)"
	ready
	# There is room for its socket, and for no file more.
	while [[ -e /proc/$lessor/fd/$free ]]; do free=$((free + 1)); done
	prlimit --pid "$lessor" --nofile=$((free + 1))
	kill -KILL "$(worker)"
	await grep -q "could not tell what went wrong" "$MADE_UP/output"
	kill "$command"
	ended 125 "hint: to put it back: vfio-bind release pci/0000:00:10.0
vfio-bind: COMMAND was killed by SIGTERM"
	vfio-bind release 00:10.0
	home

	promise "all: the record is there, and a release ends well"
	start sh -c "$(sleeper :\;)"
	ready
	kill -KILL "$lessor" "$(worker)" "$command"
	ended 137 ""
	await no_lease
	[[ -e $RECORD ]]
	vfio-bind release 00:10.0
	home
}

# injected WHAT ARGUMENT...: a lease in which strace, with these arguments, does WHAT; then COMMAND
# has run whole or not at all, and a release ends well, if it is needed.
injected() {
	parked
	rm -f "$MADE_UP/ran"
	status=0
	strace -q -o "$MADE_UP/trace" "${@:2}" vfio-bind handoff 00:10.0 none -- \
		sh -c 'echo begin >>/run/made-up/ran; echo end >>/run/made-up/ran; exit 7' \
		>"$MADE_UP/output" 2>&1 || status=$?
	await nobody_works
	echo "$1: status $status, it said $(<"$MADE_UP/output")"
	[[ ! -e $MADE_UP/ran || $(<"$MADE_UP/ran") == begin$'\n'end ]]
	[[ ! -e $RECORD ]] || vfio-bind release 00:10.0
	home
}

# bats test_tags=slow
@test "one alone is killed, at whatever call: COMMAND runs whole or not at all, and a release ends well" {
	local call calls when killed=0

	promise "vfio-bind: at every ninth of its calls"
	# Each as the so manyth of its name.
	injected counted -e trace=all
	mapfile -t calls < <(sed -n 's/^\([a-z0-9_]*\)(.*/\1/p' "$MADE_UP/trace" |
		awk -v first=$((RANDOM % 9)) '$1 !~ /^exit/ && NR > 1 { n[$1]++; if (NR % 9 == first) print $1, n[$1] }')
	for call in "${calls[@]}"; do
		read -r call when <<<"$call"
		injected "killed at $call $when" -e trace="$call" -e inject="$call:signal=KILL:when=$when"
		((status != 137)) || killed=$((killed + 1))
	done
	echo "killed at $killed of ${#calls[@]}"
	((killed > 20 && killed * 10 > ${#calls[@]} * 8))

	promise "its worker, and who takes over: at each of the calls that they alone make"
	killed=0
	for call in flock ftruncate pwrite64 recvmsg unlink; do
		for ((when = 1; ; when++)); do
			injected "killed at $call $when" -f -e trace=$call -e inject=$call:signal=KILL:when=$when
			grep -q "killed by SIGKILL" "$MADE_UP/trace" || break
			killed=$((killed + 1))
			[[ $status == 7 || $status == 125 ]]
		done
		((status == 7))
	done
	((killed > 10))
}

# A VF of a PF that VFIO has: its home is VFIO. /dev/full stands for its node.
VF=$PCI/0000:00:05.2

vf_of_vfio() {
	driver 0000:00:05.0 vfio-pci
	none "$VF/iommu_group"
	: >"$MADE_UP/dev/vfio/devices/vfio0"
	mount --bind /dev/full /dev/vfio/devices/vfio0
}

# A COMMAND that leaves one that holds it, and ends.
LEAVING='sleep 600 </dev/full & until [ "$(readlink /proc/$!/fd/0)" = /dev/full ]; do :; done; exit 3'

# start_vf COMMAND...: a lease of it.
start_vf() {
	vf_of_vfio
	: >"$MADE_UP/output"
	env --default-signal=INT,QUIT vfio-bind handoff --reset=never 00:05.2 -- "$@" \
		</dev/null >"$MADE_UP/output" 2>&1 3>&- 4>&- &
	lessor=$!
}

waits_for_holder() {
	await test -s "$MADE_UP/output"
	holder=$(pgrep --ns $$ --nslist mnt -x sleep)
	[[ $(<"$MADE_UP/output") == "vfio-bind: 0000:00:05.2: COMMAND has ended, but sleep (pid $holder) holds it: waiting" ]]
}

# bats test_tags=slow
@test "COMMAND has ended, and has left a process that holds the device" {
	local by waits
	promise "who it is, and the lease goes on until it lets go"
	start_vf sh -c "$LEAVING"
	waits_for_holder
	[[ $(vfio-bind list -no LEASE 00:05.2) == "sh (ended)" ]]
	vfio-bind release -t 0.2 00:05.2 >"$MADE_UP/said" 2>&1 && false
	grep -q "timed out: leased to sh (ended) by vfio-bind (pid [0-9]*); held by sleep (pid $holder)" "$MADE_UP/said"
	kill "$holder"
	holder=''
	ended 3 ""

	promise "a signal ends the wait, and nothing else"
	start_vf sh -c "$LEAVING"
	waits_for_holder
	kill -INT "$lessor"
	ended 125 "interrupted: COMMAND has ended; held by sleep (pid $holder)
vfio-bind: hint: it is released when that process ends; pid "
	waits=" waits for it
vfio-bind: COMMAND ended with status 3"
	[[ $output == *"pid "*"$waits" ]]
	by=${output%"$waits"} by=${by##* } # which looks through a child, at times
	[[ $(<"/proc/$by/comm") == vfio-bind ]]
	kill "$holder"
	holder=''
	await is_gone "$by"
}

# bats test_tags=slow
@test "a signal ends the wait for one device, though the other has long been home" {
	vf_of_vfio
	none "$PCI/0000:00:05.1/iommu_group"
	driver 0000:00:05.1 vfio-pci
	attribute "$PCI/0000:00:05.1/driver_override" vfio-pci
	folder "$PCI/0000:00:05.1/vfio-dev/vfio1"
	# Nobody has this terminal open.
	exec 9<>/dev/ptmx
	local terminal
	for terminal in /dev/pts/[0-9]*; do :; done
	echo "$((0x$(stat -c %t "$terminal"))):$((0x$(stat -c %T "$terminal")))" \
		>"$PCI/0000:00:05.1/vfio-dev/vfio1/dev"
	: >"$MADE_UP/dev/vfio/devices/vfio1"
	mount --bind "$terminal" /dev/vfio/devices/vfio1
	: >"$MADE_UP/output"
	env --default-signal=INT,QUIT vfio-bind handoff -t 0.5 --reset=never -d auto 00:05.1 00:05.2 -- \
		sh -c "$LEAVING" </dev/null >"$MADE_UP/output" 2>&1 3>&- 4>&- &
	lessor=$!
	waits_for_holder # for longer than a release may take
	kill -INT "$lessor"
	await grep -q interrupted "$MADE_UP/output"
	ended 125 "interrupted: COMMAND has ended; held by sleep (pid $holder)"
	umount /dev/vfio/devices/vfio1
	rm "$MADE_UP/dev/vfio/devices/vfio1"
	exec 9>&-
}

@test "the release at the end asks who uses the device now" {
	attribute "$NVME/driver_override" nvme
	record pci:0000:00:10.0 "$NVME" "driver_override none" "given nvme"
	echo 1:7 >"$NVME/nvme/nvme0/dev"
	vfio_bind handoff 00:10.0 nvme -- sh -c "$LEAVING"
	[[ $status == 125 && $output == "vfio-bind: 0000:00:10.0: in use: /dev/nvme0 is open in sleep (pid "* ]]
	[[ -e $RECORD && $(<"$NVME/driver_override") == nvme ]]
}

# bats test_tags=slow
@test "the release at the end has a time of its own, though COMMAND has taken longer" {
	attribute "$NVME/driver_override" nvme
	record pci:0000:00:10.0 "$NVME" "driver_override none" "given nvme"
	echo 1:7 >"$NVME/nvme/nvme0/dev"
	mkdir -p /run/udev
	: >/run/udev/queue # the node may be open for a moment more
	vfio_bind handoff -t 2 00:10.0 nvme -- sh -c "sleep 2; ${LEAVING/600/0.5}"
	rm /run/udev/queue
	echo "$output"
	[[ $output == *"cannot unbind from nvme: the kernel left it bound;"* ]]
}

# waited_for: somebody waits for the lock.
waited_for() {
	awk -v "inode=$(stat -c %i "$LOCK")" \
		'$2 == "->" && $7 ~ ":" inode "$" { found = 1 } END { exit !found }' /proc/locks
}

@test "a release that waited for the lock of a worker that is killed is the last one" {
	local waiter by
	start sh -c "$(sleeper :\;)"
	ready
	by=$(worker)
	vfio-bind release -t 20 00:10.0 3>&- &
	waiter=$!
	await waited_for
	kill -STOP "$lessor" # or the successor could be quicker
	kill -KILL "$by"
	wait "$waiter"
	kill -CONT "$lessor"
	[[ ! -e $RECORD ]]
	kill "$command"
	ended 125 "the lease has ended: when its worker was killed, another process took the lock, and released it"
	[[ $(<"$NVME/driver_override") == none ]]
}

# faulty CALL WHEN: a lease, in each process of which that call fails that time. COMMAND has not
# run without the device, and vfio-bind has not said that it has run if it has not.
faulty() {
	parked
	rm -f "$MADE_UP/unlocked"
	status=0
	strace -fqq -o "$MADE_UP/trace" -e trace="$1" -e inject="$1:error=EIO:when=$2" \
		vfio-bind handoff 00:10.0 none -- \
		sh -c "flock -n $LOCK touch /run/made-up/unlocked; exit 7" >"$MADE_UP/output" 2>&1 || status=$?
	await nobody_works
	echo "EIO of $*: status $status, it said $(<"$MADE_UP/output")"
	[[ ! -e $MADE_UP/unlocked && $status != 0 ]]
	if ((status == 7)); then
		[[ ! -e $RECORD ]]
	else
		[[ -s $MADE_UP/output ]]
		[[ ! -e $RECORD ]] || vfio-bind release 00:10.0
	fi
	home
}

# bats test_tags=slow
@test "a call fails: COMMAND has the device, or does not run" {
	local call when failed=0
	for call in recvmsg sendmsg write pipe2 pidfd_open clone; do
		for ((when = 1; when < 25; when++)); do
			faulty $call $when
			[[ $(<"$MADE_UP/trace") == *INJECTED* ]] || break
			failed=$((failed + 1))
		done
	done
	((failed > 10))
}

@test "a dry run tells the whole story" {
	expect 0 "echo vfio-pci > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/unbind
echo 0000:00:10.0 > $DRIVERS/vfio-pci/bind
echo 1 > $NVME/reset
sh -c 'it'\\''s' '' --so
echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/nvme/bind" handoff -n 00:10.0 -- sh -c "it's" '' --so
	# Home is on record.
	driver 0000:00:10.0 vfio-pci
	attribute "$NVME/driver_override" vfio-pci
	record pci:0000:00:10.0 "$NVME" "driver nvme" "driver_override nvme" "given vfio-pci"
	expect 0 "true
echo nvme > $NVME/driver_override
echo 0000:00:10.0 > $DRIVERS/vfio-pci/unbind
echo 0000:00:10.0 > $DRIVERS/nvme/bind" handoff -n 00:10.0 -- true
	expect 127 "vfio-bind: nix: command not found: nothing was touched" handoff -n 00:10.0 -- nix
	# What could forge something on a terminal is told by numbers, and the same to a shell.
	# shellcheck disable=SC1003 # that is a word which ends so
	local words=($'\xc2\x9b31m\x1b[31m\xff' $'it\'s\\\n\u00e4' 'it'\''s\' $'\u00e4')
	parked
	vfio_bind handoff -n 00:10.0 none -- printf '%s|' "${words[@]}"
	((status == 0))
	output=$(grep ^printf <<<"$output")
	[[ $output != *[$'\x01'-$'\x1f\x9b\xff']* ]]
	[[ $(eval "$output") == "$(printf '%s|' "${words[@]}")" ]]
}
