#!/usr/bin/env bats
# A call of the kernel that fails: what could not be read is not "nothing".
# FAULTS=all: each call, with each errno; else a sample of them.

# bats file_tags=slow

load sys

# Under ptrace, LeakSanitizer does not work.
export ASAN_OPTIONS=$NO_LEAKS

# The calls by which vfio-bind learns something, or makes a process that does. Memory is not
# among them: without it the program ends at once, as by a kill. Nor are the worker's messages.
calls=(openat access readlink readlinkat newfstatat statx getdents64 read pread64 clone pipe2 socketpair flock mkdir poll)

if [[ ${FAULTS-} == all ]]; then
	errnos=(ENOMEM EMFILE EIO EACCES) step=1
else
	errnos=(EIO) step=11
fi

# faulty CALL ERRNO N ARGUMENT...: runs vfio-bind with the Nth of this call failing, in each of
# its processes that gets there. Sets status. Returns 1 if none got there.
faulty() {
	status=0
	strace -qqf --seccomp-bpf -o "$MADE_UP/strace" -e trace="$1" -e inject="$1:error=$2:when=$3" \
		vfio-bind "${@:4}" >"$MADE_UP/out" 2>"$MADE_UP/err" || status=$?
	[[ $(<"$MADE_UP/strace") == *INJECTED* ]]
}

# said_all: what vfio-bind printed, but for the warning of a release that cannot tell whether the
# device is pinned at boot, too: it releases all the same.
said_all() {
	grep -hv "^vfio-bind: warning: cannot read /etc/udev/rules.d/10-vfio-bind.rules: " \
		"$MADE_UP/out" "$MADE_UP/err" | sort
}

# sweep ARGUMENT...: status 0 means that what is printed is what is printed without the fault; or
# else vfio-bind says why, with status 1 to 3.
sweep() {
	local call errno good said
	local -i n runs=0 wrong=0
	vfio-bind "$@" >"$MADE_UP/out" 2>"$MADE_UP/err"
	good=$(said_all)
	for call in "${calls[@]}"; do
		for errno in "${errnos[@]}"; do
			for ((n = 1; ; n += step)); do
				faulty "$call" "$errno" $n "$@" || break
				said=$(<"$MADE_UP/err")
				runs+=1
				case $status in
				0) # without its list of services the C library knows no names, and numbers are shown
					[[ $(said_all) == "$good" ]] && continue
					grep -q '/etc/nsswitch.conf".*INJECTED' "$MADE_UP/strace" && continue
					;;
				[123]) [[ $said == *vfio-bind:* ]] && continue ;;
				127) # the program has not begun
					[[ $said == *"error while loading shared libraries"* ]] && continue
					;;
				esac
				wrong+=1
				echo "$errno of $call $n: vfio-bind $*: status $status: $said"
				grep INJECTED "$MADE_UP/strace" | head -n 3
			done
		done
	done
	echo "$* : $runs faults, $wrong wrong"
	((runs && !wrong))
}

@test "handoff: a call that fails" {
	sweep handoff -n 00:10.0
	sweep handoff -n 00:05.1 none
}

@test "pin and release: a call that fails" {
	sweep pin -n nvme0n1
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given vfio-pci"
	echo vfio-pci >"$NVME/driver_override"
	sweep release -n --all
	sweep release -n 00:10.0
}

@test "pin --boot and release --boot: a call that fails" {
	link "$DRIVERS/nvme/module" /sys/module/nvme
	folder /sys/module/nvme
	echo live >/sys/module/nvme/initstate
	sweep pin --boot -n nvme0n1
	vfio-bind pin --boot 00:10.0
	sweep pin --boot -n 00:10.0
	sweep release --boot -n 00:10.0
	sweep list --boot -o BOOT,DEVICE
}

# lasting ARGUMENT...: the same for the paths that vfio-bind opens, when that, or to read, fails
# however often it is tried. The device is held: status 0 is wrong.
lasting() {
	local path call errno status
	local -a paths
	local -i i runs=0 wrong=0
	run -3 strace -qqqfy -o "$MADE_UP/strace" -e trace=openat vfio-bind "$@"
	mapfile -t paths < <(sed -n 's/.* = [0-9]*<\(\/.*\)>$/\1/p' "$MADE_UP/strace" | sort -u)
	for ((i = 0; i < ${#paths[@]}; i++)); do
		path=${paths[i]}
		((i % step == 0)) || [[ $path == "$NVME"/t* ]] || continue
		for call in openat ${FAULTS:+getdents64,read}; do
			for errno in "${errnos[@]}"; do
				status=0
				strace -qqqf -o "$MADE_UP/strace" -e trace="$call" -P "$path" \
					-e inject="$call:error=$errno" vfio-bind "$@" >"$MADE_UP/out" 2>&1 || status=$?
				[[ $(<"$MADE_UP/strace") == *INJECTED* ]] || continue
				runs+=1
				((status == 0)) || continue
				wrong+=1
				echo "$errno of $call, $path: vfio-bind $*: status 0: $(<"$MADE_UP/out")"
			done
		done
	done
	echo "$* : $runs faults, $wrong wrong"
	((runs > 5 && !wrong))
}

@test "a held device, and a path that fails for ever" {
	folder "$NVME/tty/ttyX"
	attribute "$NVME/tty/ttyX/dev" 1:7
	none "$NVME/nvme"
	hold /dev/full
	lasting handoff -n 00:10.0 none
	record pci:0000:00:10.0 "$NVME" "driver pci-stub" "given nvme"
	lasting release -n 00:10.0
}

@test "list: a call that fails" {
	sweep list -b platform
	changing
	: >/dev/vfio/devices/vfio0
	mkdir -p /run/vfio-bind/lock
	echo "0 qemu" >/run/vfio-bind/lock/pci:0000:00:05.2
	hold /run/vfio-bind/lock/pci:0000:00:05.2 flock -F /run/vfio-bind/lock/pci:0000:00:05.2
	sweep list -o +HOST,USE,BOOT,ID,PF,VFS,RESET,OWNER,LEASE 00:05.2 00:10.0
	rm /dev/vfio/devices/vfio0
	let_go
	folder "$NVME/tty/ttyX"
	attribute "$NVME/tty/ttyX/dev" 1:7
	none "$NVME/nvme"
	hold /dev/full
	sweep list -nro HOLDER 00:10.0
}

@test "whose a device is cannot be read: that is not nobody's" {
	local call node=/dev/vfio/devices/vfio0 lock=/run/vfio-bind/lock/pci:0000:00:05.2
	changing
	: >$node
	mount --bind /dev/full $node
	mkdir -p /run/vfio-bind/lock
	echo "0 qemu" >$lock
	hold $lock flock -F $lock
	expect 0 "0000:00:05.2 $(stat -c '%U:%G\x20%04a' $node) qemu\\x20(ended)" list -nro DEVICE,OWNER,LEASE 00:05.2
	for call in openat:error=EMFILE pread64:error=EIO flock:error=ENOLCK newfstatat:error=EIO; do
		[[ $call != newfstatat:* ]] || lock=$node
		run -1 strace -qqq -o "$MADE_UP/trace" -e trace="${call%%:*}" -P "$lock" -e inject="$call" \
			vfio-bind list -nro DEVICE,OWNER,LEASE 00:05.2
		[[ $output == *"vfio-bind: cannot read $lock: "* && $output == *"0000:00:05.2 "*"?"* ]]
	done
	umount $node
	rm $node
}

@test "what a name means cannot be read: it is not said that there is none" {
	local name call n
	folder /sys/devices/virtual/net/dummy0
	link /sys/devices/virtual/net/dummy0/subsystem /sys/class/net
	link /sys/class/net/dummy0 /sys/devices/virtual/net/dummy0
	for name in nvme0n1 dummy0; do
		for call in access readlink; do
			for ((n = 1; ; n++)); do
				faulty $call EIO $n list $name || break
				[[ $(<"$MADE_UP/err") != *"no such device"* ]]
			done
			((n > 3))
		done
	done
	# Nor that it was removed.
	mkdir -p /run/vfio-bind/lock
	: >/run/vfio-bind/lock/pci:0000:00:1e.0
	expect 2 "vfio-bind: 00:1e.0: the device is gone: it was removed" list 00:1e.0
	for n in 1 2; do
		run -$n strace -qqq -o "$MADE_UP/trace" -e trace=access -P /sys/bus/pci/devices/0000:00:1e.0 \
			-e inject=access:error=EIO:when=$n vfio-bind list 00:1e.0
		[[ $output != *"is gone"* ]]
		grep -q INJECTED "$MADE_UP/trace"
	done
}

@test "a driver that cannot be told is not none" {
	local n
	for ((n = 1; ; n++)); do
		faulty readlinkat EIO $n handoff -n 00:10.0 || break
		((status == 0)) || continue
		[[ $(<"$MADE_UP/out") == *"> $DRIVERS/nvme/unbind"* ]]
	done
	((n > 3))
}

@test "release --all does not forget what it cannot look at" {
	local call n
	for call in newfstatat readlinkat access getdents64 openat; do
		for ((n = 1; ; n += 3)); do
			record pci:0000:00:05.2 "$PCI/0000:00:05.2" "given vfio-pci"
			faulty $call EIO $n release --all -t 5 || break
			[[ -e /run/vfio-bind/record/pci:0000:00:05.2 ]] || ((status == 0))
			((status)) || [[ ! -e /run/vfio-bind/record/pci:0000:00:05.2 ]]
		done
	done
}

@test "release --all touches nothing when a folder of its records cannot be read" {
	local n
	for ((n = 1; ; n++)); do
		driver 0000:00:10.0 ''
		attribute "$NVME/driver_override" none
		record pci:0000:00:10.0 "$NVME" "driver_override none"
		faulty getdents64 EIO $n release --all || break
		if [[ $(<"$MADE_UP/err") == "vfio-bind: cannot read /run/vfio-bind"* ]]; then
			((status == 1))
			[[ -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
		fi
	done
	((n > 4))
}

@test "release --all, and the records cannot be read" {
	record pci:0000:00:10.0 "$NVME" "driver nvme" "given vfio-pci"
	chmod 0 /run/vfio-bind/record
	run -1 setpriv --bounding-set -dac_override,-dac_read_search --inh-caps -all \
		vfio-bind release --all
	[[ $output == "vfio-bind: cannot read /run/vfio-bind/record: Permission denied" ]]
	# Nor one of them, in a dry run, which an ordinary user may make.
	chmod 700 /run/vfio-bind/record
	chmod 0 /run/vfio-bind/record/*
	run -1 setpriv --bounding-set -dac_override,-dac_read_search --inh-caps -all \
		vfio-bind release -n --all
	[[ $output == *"cannot read /run/vfio-bind/record/pci:0000:00:10.0: Permission denied" ]]
}

# unreadable FILE [HINT]: how it is said of a record.
unreadable() {
	echo "vfio-bind: ${2-0000:00:05.2: }cannot read $1: it is no record
vfio-bind: hint: to go on without ${3-knowing where it was}: rm $1"
}

@test "a record that cannot be parsed is said, whatever is asked, and the others are released" {
	local text file=/run/vfio-bind/record/pci:0000:00:05.2
	for text in '' $'incarnation x\ndriver nvme\n' $'driver nvme\ngiven vfio-pci\n' \
		$'incarnation 7\ndriver nvme\ngiven vfio-p' $'incarnation 7\nnvme\n' \
		'incarnation 7\n\0driver nvme\n' '\xff\xfe\n' $'incarnation 7\ndriver \n' \
		$'incarnation 7\ndriver ../nvme\n' $'incarnation 7\ngiven \n'; do
		restore
		record pci:0000:00:10.0 "$NVME" "given pci-stub"
		none "$NVME/driver"
		: >"$NVME/driver_override"
		printf '%b' "$text" >$file
		expect 1 "$(unreadable $file)" handoff -n 00:05.2
		expect 1 "$(unreadable $file)" pin 00:05.2
		expect 1 "$(unreadable $file)" release 00:05.2
		expect 1 "0000:00:05.2 ?
0000:00:10.0 none
$(unreadable $file '')" list -nro DEVICE,HOST 00:05.2 00:10.0
		expect 1 "$(unreadable $file)" release --all
		[[ -e $file && ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
	done
	rm $file
	record pci:0000:00:10.0 "$NVME" "given pci-stub"
	: >/run/vfio-bind/record/nvme
	expect 1 "$(unreadable /run/vfio-bind/record/nvme '' it)" release --all
	[[ ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
	rm /run/vfio-bind/record/nvme

	# Nor is one passed over as its device is absent, which a true one is.
	record pci:0000:00:10.0 "$NVME" "given pci-stub"
	cp /run/vfio-bind/record/pci:0000:00:10.0 /run/vfio-bind/record/pci:0000:99:00.1
	for file in /run/vfio-bind/record/{nobus:x,pci:0000:99:00.0}; do echo x y >"$file"; done
	expect 1 "$(unreadable /run/vfio-bind/record/nobus:x '')
$(unreadable /run/vfio-bind/record/pci:0000:99:00.0 '')" release --all
	[[ ! -e /run/vfio-bind/record/pci:0000:00:10.0 ]]
}

@test "list without descriptors, or processes, left" {
	# shellcheck disable=SC2016 # for that shell to expand
	run -1 bash -c 'for fd in /proc/self/fd/*; do ((${fd##*/} < 3)) || eval "exec ${fd##*/}>&-"; done
		ulimit -n 5; exec vfio-bind list'
	[[ $output == *"vfio-bind: cannot read /sys/"* ]]
	faulty clone EAGAIN 1 list -nro DEVICE,OVERRIDE 00:10.0
	((status == 1))
	[[ $(<"$MADE_UP/out") == "0000:00:10.0 ?" ]]
	[[ $(<"$MADE_UP/err") == "vfio-bind: cannot read $NVME/driver_override: Resource temporarily unavailable" ]]
}
