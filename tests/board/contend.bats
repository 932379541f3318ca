#!/usr/bin/env bats
# Many commands at once: one device is worked on by one of them at a time, two devices are
# worked on side by side, and the lock is nobody's but root's.

load ../helpers

: "${pid=}" # in_background sets it

PARAMETERS=/sys/module/vbtest/parameters
LOCKS=/run/vfio-bind/lock
LOCK=$LOCKS/platform:vbtest.0

setup_file() {
	noiommu
	modprobe vbtest devices=2
}

teardown_file() {
	modprobe -r vbtest
}

teardown() {
	end_removes
	end_background
	vfio-bind release --all
}

# waits_for_lock NUMBER: so many wait for a lock.
waits_for_lock() {
	(($(grep -c -e '-> FLOCK' /proc/locks) == $1))
}

# is_unlocked DEVICE: nobody has its lock.
is_unlocked() {
	flock -n "$LOCKS/platform:$1" true
}

# slow_removes: the host driver's take their time, until end_removes.
slow_removes() {
	echo "$FOR_EVER" >"$PARAMETERS/host_remove_ms"
}

end_removes() {
	echo 0 >"$PARAMETERS/host_remove_ms"
}

# slow_handoff: vbtest.0 is on its way to vbtest-target, and in the remove of its host
# driver, until end_removes. Sets pid and worker.
slow_handoff() {
	slow_removes
	in_background vfio-bind handoff -t 1000 vbtest.0 vbtest-target
	until_true 30 driver_is vbtest.0 none
	worker=$(pgrep -P "$pid")
}

# contender END FILE FIRST SECOND: runs these two commands on the NIC in turn until END, and
# once at least.
# Their statuses go to FILE, and what they said, if it was not what it should be.
contender() {
	local said status command
	local -a counts=()
	while :; do
		for command in "$3" "$4"; do
			status=0
			# Nobody has to wait so long: all succeed.
			said=$(vfio-bind "$command" -t 600 "$NIC" 2>&1) || status=$?
			counts[status]=$((${counts[status]:-0} + 1))
			((status == 0)) || echo "$command: status $status: $said" >>"$2.bad"
		done
		((SECONDS < $1)) || break
	done
	for status in "${!counts[@]}"; do echo "$status ${counts[status]}"; done >"$2"
}

# watcher: fails when the NIC is ever seen where it never should be.
watcher() {
	local path drivers=/sys/bus/platform/drivers driver
	path=$(syspath "$NIC")
	while [[ ! -e $BATS_TEST_TMPDIR/end ]]; do
		for driver in "$drivers"/*; do
			# Bash's own test: a readlink would be a process.
			if [[ $path/driver -ef $driver && ${driver##*/} != "$NIC_DRIVER" &&
				${driver##*/} != vfio-platform ]]; then
				echo "seen on $driver" >>"$BATS_TEST_TMPDIR/watcher.bad"
			fi
		done
		sleep 0.2
	done
}

@test "twenty processes at handoff and release of one device all succeed" {
	local i end=$((SECONDS + ${CONTEND_SECONDS:-20})) status count
	local -a total=()
	for ((i = 0; i < 20; i++)); do
		if ((i % 2)); then
			contender "$end" "$BATS_TEST_TMPDIR/$i" handoff release 3>&- &
		else
			contender "$end" "$BATS_TEST_TMPDIR/$i" release handoff 3>&- &
		fi
		background+=($!)
	done
	watcher 3>&- &
	for i in "${background[@]}"; do wait "$i"; done
	touch "$BATS_TEST_TMPDIR/end"
	wait $!
	background=()
	for ((i = 0; i < 20; i++)); do
		while read -r status count; do
			total[status]=$((${total[status]:-0} + count))
		done <"$BATS_TEST_TMPDIR/$i"
	done
	for status in "${!total[@]}"; do
		echo "# status $status: ${total[status]} commands of 20 processes" >&3
	done
	run ! cat "$BATS_TEST_TMPDIR"/*.bad
	# Each of them ends what it has begun: a handoff and a release.
	((total[0] >= 40))

	vfio_bind 0 release "$NIC"
	is_home "$NIC" "$NIC_DRIVER"
	[[ -d $(syspath "$NIC")/net ]]
	is_unlocked "$NIC"
	is_home "$SIBLING" "$NIC_DRIVER"
	kernel_is_content
}

@test "two devices' commands do not wait for each other" {
	slow_handoff
	vfio_bind 0 handoff "$NIC"
	device_is "$NIC" vfio-platform vfio-platform
	vfio_bind 0 release "$NIC"
	# Still in its remove.
	device_is vbtest.0 none vbtest-target
	run ! is_unlocked vbtest.0
	end_removes
	ended "$pid" 0
	device_is vbtest.0 vbtest-target vbtest-target
}

@test "two devices of one command are worked on side by side" {
	local removes
	removes=$(<"$PARAMETERS/host_removes")
	slow_removes
	in_background vfio-bind handoff -t 1000 --driver=vbtest-target vbtest.0 vbtest.1
	both_are_removed() {
		(($(<"$PARAMETERS/host_removes") == removes + 2))
	}
	until_true 30 both_are_removed
	# The second remove has begun, and the first one has not ended.
	device_is vbtest.0 none vbtest-target
	device_is vbtest.1 none vbtest-target
	end_removes
	ended "$pid" 0
	device_is vbtest.0 vbtest-target vbtest-target
	device_is vbtest.1 vbtest-target vbtest-target
}

@test "a command is refused at its deadline while another one has the lock" {
	slow_handoff
	vfio_bind 3 release -t 1 vbtest.0
	says "vfio-bind: vbtest.0: timed out: locked by vfio-bind (pid $worker)"
	# The other one is still at work, and has not been disturbed.
	device_is vbtest.0 none vbtest-target
	end_removes
	ended "$pid" 0
	device_is vbtest.0 vbtest-target vbtest-target
}

@test "commands that wait for the lock get it, one after the other" {
	slow_handoff
	handoff=$pid
	in_background vfio-bind release -t 1000 vbtest.0
	first=$pid
	in_background vfio-bind release -t 1000 vbtest.0
	second=$pid
	until_true 30 waits_for_lock 2
	end_removes
	ended "$handoff" 0
	ended "$first" 0
	ended "$second" 0
	is_home vbtest.0 vbtest-host
	is_unlocked vbtest.0
}

@test "the lock lasts until the kernel is done, also when the command is gone" {
	slow_handoff
	kill -KILL "$pid"
	status=0
	wait "$pid" || status=$?
	((status == 128 + 9))
	run ! is_unlocked vbtest.0
	vfio_bind 3 handoff -t 1 vbtest.0 vbtest-target
	says "locked by vfio-bind (pid $worker)"
	device_is vbtest.0 none vbtest-target
	end_removes
	until_true 80 is_gone "$worker"
	# Nobody waited for it: so it was put back.
	is_home vbtest.0 vbtest-host
	is_unlocked vbtest.0
}

@test "the lock is there also when the command gave up at its deadline" {
	slow_removes
	vfio_bind 4 handoff -t "$DEADLINE" vbtest.0 vbtest-target
	run ! is_unlocked vbtest.0
	# The next command waits for what that one has left behind.
	in_background vfio-bind release -t 1000 vbtest.0
	until_true 30 waits_for_lock 1
	end_removes
	ended "$pid" 0
	is_home vbtest.0 vbtest-host
	is_unlocked vbtest.0
}

@test "nobody but root can take a lock, or see what is recorded" {
	rm -r /run/vfio-bind
	(
		umask 0
		vfio_bind 0 handoff vbtest.0 vbtest-target
	)
	stat -c '%a %u %n' /run/vfio-bind{,/lock,/record} "$LOCK" "$(record_of vbtest.0)" \
		>"$BATS_TEST_TMPDIR/modes"
	diff "$BATS_TEST_TMPDIR/modes" - <<-END
		700 0 /run/vfio-bind
		700 0 /run/vfio-bind/lock
		700 0 /run/vfio-bind/record
		600 0 $LOCK
		600 0 $(record_of vbtest.0)
	END
	local user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	run -66 "${user[@]}" flock -n "$LOCK" true
	says "Permission denied"
	# Nor the file itself, if he got to it.
	chmod 711 /run/vfio-bind{,/lock}
	run -66 "${user[@]}" flock -n "$LOCK" true
	says "Permission denied"
	chmod 700 /run/vfio-bind{,/lock}
}

@test "a folder that others can write is not trusted with the lock" {
	local was
	rm -r /run/vfio-bind
	for was in "mkdir -m 777" "install -d -o 65534" "ln -s /tmp" "touch"; do
		$was /run/vfio-bind
		vfio_bind 1 handoff vbtest.0 vbtest-target
		says "/run/vfio-bind is not a directory that only root can write"
		device_is vbtest.0 vbtest-host "(null)"
		rm -rf /run/vfio-bind
	done
}
