#!/usr/bin/env bats
# Signals and readers: the status tells what is so, whenever a signal comes and whoever does not
# read. A pin is real here: /sys takes what is written.

load sys

setup_file() {
	# Under ptrace, LeakSanitizer does not work.
	export ASAN_OPTIONS=$NO_LEAKS
}

# flagged TEXT: the disk has this flag, and a record if it has any.
flagged() {
	[[ $(<"$NVME/driver_override") == "$1" ]]
	[[ ! $1 || -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
	[[ $1 || ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
}

unflagged() {
	changing
	rm -rf /run/vfio-bind
	: >"$NVME/driver_override"
}

# status_of COMMAND...: its status is in $status, and nothing else is said than that. A job of
# a shell ignores some signals.
status_of() {
	status=0
	env --default-signal=INT,QUIT "$@" >"$MADE_UP/output" 2>&1 3>&- || status=$?
}

# In front of a command: whoever read its stderr is gone.
# shellcheck disable=SC2016 # for perl
nobody=(perl -e 'pipe my $reader, my $writer; close $reader; open STDERR, ">&", $writer;
	$SIG{PIPE} = "DEFAULT"; exec @ARGV')

# full_pipe: nobody reads it, and no byte more goes into it. It is open as fd 9.
full_pipe() {
	changing
	mkfifo "$MADE_UP/full.$BATS_TEST_NUMBER"
	exec 9<>"$MADE_UP/full.$BATS_TEST_NUMBER"
	perl -MFcntl -e 'open my $to, ">&=", 9; fcntl $to, F_SETFL, O_RDWR | O_NONBLOCK or die;
		for my $n (4096, 1) { 1 while syswrite $to, "x" x $n }
		fcntl $to, F_SETFL, O_RDWR or die'
}

@test "a signal when the work is done: it is done, and the status says so" {
	local signal
	for signal in INT TERM HUP QUIT; do
		# The wait for the worker's end comes last.
		unflagged
		status_of strace -qqq -o "$MADE_UP/trace" -e trace=wait4 \
			-e inject=wait4:signal=$signal vfio-bind pin 00:10.0 pci-stub
		((status == 0))
		flagged pci-stub
		grep -q ^wait4 "$MADE_UP/trace"
	done
}

@test "what else would end a process, as an alarm from before, ends none that is at work" {
	local signal
	for signal in ALRM USR1 XCPU 40; do
		unflagged
		status_of strace -qqq -o "$MADE_UP/trace" -e trace=socketpair \
			-e inject=socketpair:signal=$signal vfio-bind pin -v 00:10.0 pci-stub
		((status == 0))
		flagged pci-stub
		grep -q ^socketpair "$MADE_UP/trace"
	done
}

@test "a file that may not grow: a failed write as any other, and not the end" {
	unflagged
	printf '%2000s' '' >"$MADE_UP/full"
	(ulimit -f 1 && exec vfio-bind pin -v 00:10.0 pci-stub 2>>"$MADE_UP/full")
	flagged pci-stub
	for arguments in list --help; do
		run -1 bash -c "ulimit -f 1 && exec vfio-bind $arguments >>'$MADE_UP/full'"
		[[ $output == "vfio-bind: write error: File too large" ]]
	done
}

@test "dead of a signal before the work began: nothing was changed" {
	local signal number
	for signal in INT:2 TERM:15 HUP:1 QUIT:3; do
		number=${signal#*:}
		unflagged
		status_of strace -qqq -o "$MADE_UP/trace" -e trace=socketpair \
			-e inject=socketpair:signal="${signal%:*}" vfio-bind pin 00:10.0 pci-stub
		((status == 128 + number))
		flagged ''
	done
}

# bats test_tags=slow
@test "what holds up the command itself: it ends at its deadline" {
	local way
	changing
	mkfifo "$MADE_UP/fifo"
	for way in "" "-n"; do
		promise "a database of users $way"
		mount --bind "$MADE_UP/fifo" "$MADE_UP/real-etc/passwd"
		# shellcheck disable=SC2086 # none, or an option
		run -3 timeout -s KILL 5 vfio-bind handoff $way -t 0.1 --owner=alice 00:10.0
		umount "$MADE_UP/real-etc/passwd"
		[[ $output == "vfio-bind: timed out: nothing was touched" ]]
	done
	mount --bind "$MADE_UP/fifo" "$MADE_UP/real-etc/passwd"
	run -125 timeout -s KILL 5 vfio-bind handoff -t 0.1 --owner=alice 00:10.0 -- true
	umount "$MADE_UP/real-etc/passwd"

	promise "modprobe.d"
	mkfifo /run/modprobe.d/fifo.conf
	run -3 timeout -s KILL 5 vfio-bind handoff -t 0.1 -d auto 00:10.0 00:12.0
	[[ $output == "vfio-bind: 0000:00:10.0: timed out: the checks are not done yet: nothing was touched
vfio-bind: 0000:00:12.0: timed out: the checks are not done yet: nothing was touched" ]]
	rm /run/modprobe.d/fifo.conf
}

# bats test_tags=slow
@test "two signals while a pin at boot writes its file: that the kernel has it, or puts back, is not said" {
	local strace vfio_bind signal
	unflagged
	# Between the two messages of the file's first line.
	env --default-signal=INT,QUIT strace -qqqf -o "$MADE_UP/trace" -e trace=sendmsg \
		-e inject=sendmsg:delay_enter=2s:when=7 vfio-bind pin --boot -fv 00:10.0 pci-stub \
		>"$MADE_UP/output" 2>&1 3>&- &
	strace=$!
	until grep -qs "^cat > " "$MADE_UP/output"; do kill -0 $strace; done
	vfio_bind=$(pgrep -P $strace)
	kill -TERM "$vfio_bind"
	until [[ $(</proc/"$vfio_bind"/status) =~ ShdPnd:[[:space:]]0{16} ]]; do :; done
	kill -TERM "$vfio_bind"
	status=0
	wait $strace || status=$?
	((status == 4))
	[[ $(<"$MADE_UP/output") =~ "interrupted: its worker (pid "[0-9]+") is still at work"$'\n'"vfio-bind: hint: to see how it ends: vfio-bind list pci/0000:00:10.0"$ ]]
	until [[ -e /etc/udev/rules.d/10-vfio-bind.rules ]]; do :; done
	flagged pci-stub
	vfio-bind release --boot 00:10.0
}

@test "a signal that was blocked at the start is not lost" {
	unflagged
	status_of perl -MPOSIX -e 'sigprocmask SIG_BLOCK, POSIX::SigSet->new(SIGTERM);
		kill TERM => $$; exec @ARGV' vfio-bind pin 00:10.0 pci-stub
	((status == 128 + 15))
	flagged ''
}

@test "a worker that is stopped when it has told its result is not waited for" {
	local word process changes others stopped
	unflagged
	# Its last call but one is that it tells its result.
	while read -r word process changes others _; do
		[[ $word$process != calls2 ]] || break
	done < <("${REAL%/*}/tools/kill-at" count vfio-bind pin 00:10.0 pci-stub)
	unflagged
	# shellcheck disable=SC2016 # kill-at's shell expands it
	status_of timeout -s KILL 30 "${REAL%/*}/tools/kill-at" 2 \
		'leave:echo $KILL_AT_PID >"$MADE_UP/stopped"; kill -STOP $KILL_AT_PID' \
		$((changes + others - 1)) vfio-bind pin 00:10.0 pci-stub
	read -r stopped <"$MADE_UP/stopped"
	kill -KILL "$stopped"
	((status == 0))
	flagged pci-stub
}

@test "nobody reads stderr: the work is done, and the command ends at its deadline" {
	unflagged
	full_pipe
	status=0
	timeout -s KILL 60 vfio-bind pin -v -t 1 00:10.0 pci-stub 2>&9 || status=$?
	((status == 0))
	flagged pci-stub
	# What is wrong with one device does not keep another from its release.
	: >"$NVME/driver_override"
	status=0
	timeout -s KILL 60 vfio-bind release -v -t 1 nix 00:10.0 2>&9 || status=$?
	((status == 2))
	flagged ''
}

@test "whoever read stderr is gone: the work is done all the same" {
	unflagged
	status_of "${nobody[@]}" vfio-bind pin -v 00:10.0 pci-stub
	((status == 0))
	flagged pci-stub
	# What is said of one device, and of what is no record, comes before the work.
	: >/run/vfio-bind/record/stranger
	status_of "${nobody[@]}" vfio-bind release --all
	((status == 1))
	rm /run/vfio-bind/record/stranger
	flagged ''
	vfio-bind pin 00:10.0 pci-stub
	status_of "${nobody[@]}" vfio-bind release nix 00:10.0
	((status == 2))
	flagged ''
}

@test "nobody reads that COMMAND cannot be run: that is the status all the same" {
	local alien=$MADE_UP/alien
	changing
	driver 0000:00:10.0 ''
	attribute "$NVME/driver_override" none
	echo '#!/nix' >"$alien"
	chmod +x "$alien"
	record pci:0000:00:10.0 "$NVME" "driver_override none"
	status_of "${nobody[@]}" vfio-bind handoff 00:10.0 none -- "$alien"
	((status == 127))
	record pci:0000:00:10.0 "$NVME" "driver_override none"
	full_pipe
	status=0
	timeout -s KILL 20 vfio-bind handoff -t 0.2 00:10.0 none -- "$alien" 2>&9 3>&- || status=$?
	((status == 127))
	[[ ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
}

# waits_for_reader PID: its worker has come and gone.
waits_for_reader() {
	[[ $(<"$NVME/driver_override") == pci-stub ]] && ! pgrep -P "$1" >/dev/null
}

@test "nobody reads stderr: a signal ends the wait for a reader, and nothing else" {
	local signal vfio_bind
	for signal in INT TERM HUP QUIT; do
		unflagged
		full_pipe
		env --default-signal=INT,QUIT vfio-bind pin -v -t 500 00:10.0 pci-stub 2>&9 3>&- &
		vfio_bind=$!
		until waits_for_reader $vfio_bind; do sleep 0.05; done
		kill -$signal $vfio_bind
		status=0
		wait $vfio_bind || status=$?
		((status == 0))
		flagged pci-stub
		rm "$MADE_UP/full.$BATS_TEST_NUMBER"
	done
}

# ends_on_signal STATUS PID: it does not wait for its deadline, and has this status.
ends_on_signal() {
	local tries=600
	kill -TERM "$2"
	while kill -0 "$2" 2>/dev/null && ((--tries)); do sleep 0.05; done
	kill -KILL "$2" 2>/dev/null || :
	status=0
	wait "$2" || status=$?
	((status == $1))
}

# waits_without_worker PID FILE: FILE is gone, and so is every child of that process.
waits_without_worker() {
	[[ ! -e $2 ]] && ! pgrep -P "$1" >/dev/null
}

# bats test_tags=slow
@test "nobody reads stderr: a signal also ends the wait for a reader of what is said last" {
	local vfio_bind record=/run/vfio-bind/record/pci:0000:00:10.0
	local rules=/etc/udev/rules.d/10-vfio-bind.rules
	full_pipe

	promise "of the hint for the initramfs"
	unflagged
	vfio-bind pin --boot -f -t 500 00:10.0 pci-stub 2>&9 3>&- &
	vfio_bind=$!
	until waits_for_reader $vfio_bind; do sleep 0.05; done
	ends_on_signal 0 $vfio_bind
	flagged pci-stub
	[[ -e $rules ]]
	none "$NVME" /sys/bus/pci/devices/0000:00:10.0
	vfio-bind release --boot -t 500 00:10.0 2>&9 3>&- &
	vfio_bind=$!
	until waits_without_worker $vfio_bind $rules; do sleep 0.05; done
	ends_on_signal 0 $vfio_bind

	promise "of how COMMAND ended, when its device could not be released"
	driver 0000:00:10.0 ''
	attribute "$NVME/driver_override" none
	record pci:0000:00:10.0 "$NVME" "driver_override none"
	vfio-bind handoff -t 500 00:10.0 none -- rm $record 2>&9 3>&- &
	vfio_bind=$!
	until waits_without_worker $vfio_bind $record; do sleep 0.05; done
	ends_on_signal 125 $vfio_bind

	promise "that nobody is left to release it, until the deadline"
	driver 0000:00:10.0 ''
	attribute "$NVME/driver_override" none
	record pci:0000:00:10.0 "$NVME" "driver_override none"
	status=0
	# shellcheck disable=SC2016 # for sh
	timeout -s KILL 20 vfio-bind handoff -t 0.2 00:10.0 none -- sh -c '
		for i in 1 2; do until pkill -KILL -P $PPID -x vfio-bind; do sleep 0.05; done; sleep 0.3; done
		exit 7' 2>&9 3>&- || status=$?
	((status == 125))
	vfio-bind release 00:10.0

	promise "that there is no COMMAND, until the deadline"
	status=0
	timeout -s KILL 20 vfio-bind handoff -t 0.2 00:10.0 none -- nix 2>&9 3>&- || status=$?
	((status == 127))
}

@test "a slow reader gets all lines" {
	unflagged
	full_pipe
	vfio-bind pin -v -t 500 00:10.0 pci-stub 2>&9 3>&- &
	until waits_for_reader $!; do sleep 0.05; done
	perl -e 'open my $from, "<&=", 9; while (sysread $from, my $text, 65536) {
		$all .= $text; last if $all =~ /driver_override\n/ }
		$all =~ s/^x+//; print $all' >"$MADE_UP/output"
	wait $!
	[[ $(<"$MADE_UP/output") == "echo pci-stub > $NVME/driver_override" ]]
}

@test "nobody reads the lines of a dry run: that is no success" {
	full_pipe
	status=0
	timeout -s KILL 60 vfio-bind pin -n -t 1 00:10.0 pci-stub >&9 2>"$MADE_UP/output" || status=$?
	((status == 1))
	[[ $(<"$MADE_UP/output") == "vfio-bind: write error: Connection timed out" ]]
}

@test "a stdout that cannot be closed, and on which nothing was written" {
	unflagged
	status_of strace -qqq -o "$MADE_UP/trace" -e trace=close -P "$MADE_UP/output" \
		-e inject=close:error=EIO vfio-bind pin 00:10.0 pci-stub
	((status == 0))
	flagged pci-stub
}

@test "a stdout that cannot be closed, with a list or the lines of a dry run: that is no success" {
	local arguments
	for arguments in "list 00:10.0" "pin -n 00:10.0 pci-stub"; do
		status=0
		# shellcheck disable=SC2086,SC2094
		strace -qqq -o "$MADE_UP/trace" -e trace=close -P "$MADE_UP/output" \
			-e inject=close:error=ENOSPC vfio-bind $arguments \
			>"$MADE_UP/output" 2>"$MADE_UP/said" || status=$?
		((status == 1))
		[[ -s $MADE_UP/output ]]
		[[ $(grep ^vfio-bind "$MADE_UP/said") == "vfio-bind: write error: No space left on device" ]]
	done
}

@test "more devices than files can be open: refused, with nothing touched" {
	local names=("$PCI"/0000:00:* "$PCI/0000:00:1c.0/0000:01:00.0")
	((${#names[@]} > 12))
	unflagged
	status=0
	(
		exec >"$MADE_UP/output" 2>&1 3>&-
		ulimit -n 12
		exec timeout -s KILL 60 vfio-bind release -n "${names[@]}"
	) || status=$?
	((status == 3))
	grep -qx "vfio-bind: 0000:00:10.0: too few files can be open for ${#names[@]} devices at once: nothing was touched" \
		"$MADE_UP/output"
	(($(grep -c ': too few files' "$MADE_UP/output") == ${#names[@]}))
}
