#!/usr/bin/env bats
# What list shows of the machine.

# shellcheck disable=SC2154 # sys.bash sets holder
load sys

# shows TEXT ARGUMENT...: list does, but for blanks at the end of its lines.
shows() {
	local status output text
	vfio_bind list "${@:2}"
	text=$output$'\n'
	while [[ $text == *" "$'\n'* ]]; do text=${text//" "$'\n'/$'\n'}; done
	if [[ $status != 0 || $text != "$1"$'\n' ]]; then
		printf '%s\n' "list ${*:2}: status $status; it shows:" "$text" "and not:" "$1"
		return 1
	fi
}

@test "what is shown of devices" {
	promise "each device that can be flagged, by bus and name"
	shows "\
DEVICE            BUS      DRIVER       OVERRIDE GROUP NODE MODEL
fff37000.serial   amba     uart-pl011            20
twin              amba                           21
0000:00:02.0      pci      i915                  0
0000:00:03.0      pci      virtio-pci            1
0000:00:04.0      pci      xhci_hcd              2
0000:00:05.0      pci      nvme                  5
0000:00:05.1      pci                            8
0000:00:05.2      pci      vfio-pci     vfio-pci 9
0000:00:10.0      pci      nvme                  10
0000:00:11.1      pci      nvme                  11
0000:00:11.2      pci      nvme                  12
0000:00:12.0      pci      e1000e
0000:00:1c.0      pci      pcieport              3
0000:00:1f.0      pci      lpc_ich               7
0000:00:1f.2      pci      ahci                  7
0000:00:1f.3      pci      i801_smbus            7
0000:01:00.0      pci      e1000e                3
PNP0C0C:00        platform                                  PNP0C0C
fff51000.ethernet platform calxedaxgmac                     calxeda,hb-xgmac
half              platform
twin              platform"

	promise "groups: by number, what is in none at the end, each with all its members"
	shows "\
DEVICE            BUS      DRIVER
group 0
\`-0000:00:02.0    pci      i915
group 1
\`-0000:00:03.0    pci      virtio-pci
group 2
\`-0000:00:04.0    pci      xhci_hcd
group 3
|-0000:00:1c.0    pci      pcieport
\`-0000:01:00.0    pci      e1000e
group 5
\`-0000:00:05.0    pci      nvme
group 7
|-0000:00:1f.0    pci      lpc_ich
|-0000:00:1f.2    pci      ahci
\`-0000:00:1f.3    pci      i801_smbus
group 8
\`-0000:00:05.1    pci
group 9
\`-0000:00:05.2    pci      vfio-pci
group 10
\`-0000:00:10.0    pci      nvme
group 11
\`-0000:00:11.1    pci      nvme
group 12
\`-0000:00:11.2    pci      nvme
group 20
\`-fff37000.serial amba     uart-pl011
group 21
\`-twin            amba
0000:00:12.0      pci      e1000e
PNP0C0C:00        platform
fff51000.ethernet platform calxedaxgmac
half              platform
twin              platform" --group -o DEVICE,BUS,DRIVER
	shows "\
DRIVER     GROUP DEVICE
           7     group 7
lpc_ich    7     |-0000:00:1f.0
ahci       7     |-0000:00:1f.2
i801_smbus 7     \`-0000:00:1f.3" -g -o DRIVER,GROUP,DEVICE 00:1f.2
	shows "7 0000:00:1f.0
7 0000:00:1f.2
7 0000:00:1f.3" -grno GROUP,DEVICE 00:1f.3
	shows "\
GROUP   BUS
group 7
|-7     pci
|-7     pci
\`-7     pci" -g -o GROUP,BUS 00:1f.3

	promise "JSON"
	shows '{
   "devices": [
      {
         "device": "0000:00:05.2",
         "driver": "vfio-pci",
         "pf": "0000:00:05.0",
         "host": null
      }
   ]
}' -J -o DEVICE,DRIVER,PF,HOST 00:05.2
	shows '{
   "devices": [
      {
         "device": null,
         "group": "3",
         "children": [
            {
               "device": "0000:00:1c.0",
               "group": "3"
            },{
               "device": "0000:01:00.0",
               "group": "3"
            }
         ]
      }
   ]
}' -Jg --noheadings -o DEVICE,GROUP eth1
	shows '{
   "devices": [

   ]
}' --json --taken amba/twin

	promise "what PCI devices have"
	shows "\
DEVICE       PF           VFS  RESET   ID        CLASS
0000:00:05.0              2/16 flr bus 1b36:0010 0108
0000:00:05.1 0000:00:05.0              1b36:0010 0108
twin" -o DEVICE,PF,VFS,RESET,ID,CLASS 00:05.0 00:05.1 amba/twin
	shows "\
of:NethernetT(null)Ccalxeda,hb-xgmac /sys/devices/platform/fff51000.ethernet" \
		-no modalias,path fff51000.ethernet
	shows "pci:v00001B36d00000010sv00000000sd00000000bc01sc08i02 $PCI/0000:00:10.0" \
		-rno MODALIAS,PATH nvme0n1

	promise "interfaces and disks, of what has a driver"
	shows "\
DEVICE       USE
0000:00:03.0 eth3
0000:00:10.0 nvme0n1
0000:00:11.1 nvme1n1
0000:00:1f.2 sda,sda1
0000:01:00.0 eth1
0000:00:05.1" -o DEVICE,USE eth3 nvme0n1 00:11.1 00:1f.2 eth1 00:05.1

	promise "a bus, what is taken, and operands in their order"
	shows "fff37000.serial
twin" -no DEVICE --bus=amba
	shows "0000:00:05.2 vfio-pci vfio-pci" --raw -no DEVICE,DRIVER,OVERRIDE --taken
	shows "" --taken --bus=platform
	attribute /sys/devices/platform/half/driver_override "a driver"
	shows "0000:00:05.2 vfio-pci
half         a driver" -no device,override --taken
	shows 'half a\x20driver' -rno device,override --taken --bus=platform
	shows "twin platform
twin amba" -rno device,bus platform/twin amba/twin
	shows "twin amba" -rno device,bus --bus=amba platform/twin amba/twin
	shows "" -n --taken platform/twin
	# Also what cannot be flagged, if it is asked for.
	shows "0:0:0:0 scsi" -rno device,bus sda

	promise "what cannot be shown"
	expect 2 "vfio-bind: unknown column: 'GRUPPE'
vfio-bind: hint: vfio-bind list --help shows the columns" list -o +GRUPPE
	expect 2 "vfio-bind: no such bus: 'isa'" list -b isa
	shows "" -n --bus=usb
	none /sys/bus
	expect 1 "vfio-bind: cannot read /sys/bus: No such file or directory" list

	promise "a flag that cannot be read is ?, its device is in the list, and that is said"
	none "$NVME/driver_override"
	folder "$NVME/driver_override"
	local said="vfio-bind: cannot read $NVME/driver_override: Is a directory"
	expect 1 "0000:00:10.0 ?
$said" list -nro DEVICE,OVERRIDE 00:10.0
	vfio_bind list -nro DEVICE,OVERRIDE
	[[ $status == 1 && $'\n'$output$'\n' == *$'\n0000:00:10.0 ?\n'* && $output == *"$said" ]]
	expect 1 "vfio-bind: 0000:00:10.0: ${said#vfio-bind: }" handoff -n 00:10.0
}

@test "who has a device, and who had it before" {
	promise "nodes, and who has them open"
	changing
	: >/dev/vfio/devices/vfio0
	mount --bind /dev/full /dev/vfio/devices/vfio0
	shows "0000:00:05.2 /dev/vfio/devices/vfio0" -rno DEVICE,NODE,HOLDER 00:05.2
	: >/dev/vfio/9
	mount --bind /dev/full /dev/vfio/9
	shows "0000:00:05.2 /dev/vfio/devices/vfio0" -rno DEVICE,NODE,HOLDER 00:05.2 # not the kernel's
	folder /sys/class/vfio/9
	attribute /sys/class/vfio/9/dev 1:7
	hold /dev/vfio/devices/vfio0
	shows "0000:00:05.2 /dev/vfio/9 sleep (pid $holder)" -no DEVICE,NODE,HOLDER 00:05.2
	let_go
	none /sys/class/vfio/9
	shows "/dev/vfio/devices/vfio0" -no NODE,HOLDER 00:05.2
	umount /dev/vfio/9 /dev/vfio/devices/vfio0
	rm -r /dev/vfio/9 /dev/vfio/devices/vfio0
	folder /sys/kernel/iommu_groups/9
	echo vfio-noiommu >/sys/kernel/iommu_groups/9/name
	folder /sys/class/vfio/noiommu-9
	attribute /sys/class/vfio/noiommu-9/dev 1:7
	: >/dev/vfio/noiommu-9
	shows "" -no NODE 00:05.2 # a plain file of that name
	mount --bind /dev/full /dev/vfio/noiommu-9
	shows "/dev/vfio/noiommu-9" -no NODE 00:05.2
	umount /dev/vfio/noiommu-9
	rm /dev/vfio/noiommu-9

	promise "the driver it goes back to, as the record has it; one of another device is none"
	record pci:0000:00:05.2 "$PCI/0000:00:05.2" "driver nvme" "given vfio-pci"
	shows "vfio-pci nvme" -rno DRIVER,HOST,LEASE 00:05.2 # which nobody has locked yet
	echo "incarnation 1
driver nvme
given vfio-pci" >/run/vfio-bind/record/pci:0000:00:05.2
	shows "vfio-pci" -no DRIVER,HOST 00:05.2
	record pci:0000:00:05.2 "$PCI/0000:00:05.2" "driver vfio-pci" # the kernel will choose
	shows "vfio-pci ?" -rno DRIVER,HOST 00:05.2
	record pci:0000:00:05.2 "$PCI/0000:00:05.2" "given pci-stub"
	shows "vfio-pci" -no DRIVER,HOST 00:05.2
	# With a flag that waits in the kernel nobody knows whether it is believed.
	record pci:0000:00:05.2 "$PCI/0000:00:05.2" "driver nvme" "given vfio-pci"
	run -0 traced -qqq -o "$MADE_UP/trace" -e trace=poll -e inject=poll:retval=0 \
		vfio-bind list -rno OVERRIDE,HOST 00:05.2
	[[ $output == "? ?" ]]
}

@test "what the environment tells libsmartcols is not obeyed" {
	local option
	for option in '' -J -r; do
		# shellcheck disable=SC2086
		vfio_bind list $option
		LIBSMARTCOLS_DEBUG=all LIBSMARTCOLS_JSON=lines vfio-bind list $option >"$MADE_UP/said" 2>&1
		diff "$MADE_UP/said" - <<<"$output"
	done
}
