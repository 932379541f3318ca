# shellcheck shell=bash
# The machine that tests/sys makes up, a PC and a bit of a board: see machine() below.

# --- how a tree is described ---------------------------------------------------------

# file PATH TEXT, folder PATH, link PATH TARGET: below /sys. Links are made relative, as the
# kernel's are.
file() { printf 'file\t%s\t%s\n' "$1" "${2-}"; }
folder() { printf 'folder\t%s\t\n' "$1"; }
link() { printf 'link\t%s\t%s\n' "$1" "$2"; }

# bus NAME DRIVER...
bus() {
	local bus=bus/$1 driver
	shift
	folder "$bus/devices"
	file "$bus/drivers_probe"
	for driver; do
		file "$bus/drivers/$driver/bind"
		file "$bus/drivers/$driver/unbind"
	done
}

# device PATH BUS [WORD...]: at /sys/devices/PATH. A WORD is
#	driver=D	bound to it
#	flag=TEXT	its driver_override; empty: the device has no such file
#	group=N		its IOMMU group
#	ATTRIBUTE=TEXT
#	LINK->TARGET	below /sys
device() {
	local path=devices/$1 name=${1##*/} bus=$2 word flag='(null)'
	shift 2
	file "$path/uevent"
	link "$path/subsystem" "bus/$bus"
	link "bus/$bus/devices/$name" "$path"
	for word; do
		case $word in
		driver=*) link "$path/driver" "bus/$bus/drivers/${word#*=}" ;;
		flag=*) flag=${word#*=} ;;
		group=*)
			link "$path/iommu_group" "kernel/iommu_groups/${word#*=}"
			link "kernel/iommu_groups/${word#*=}/devices/$name" "$path"
			;;
		*-\>*) link "$path/${word%%->*}" "${word#*->}" ;;
		*) file "$path/${word%%=*}" "${word#*=}" ;;
		esac
	done
	if [[ $flag ]]; then file "$path/driver_override" "$flag"; fi
}

# pci PATH VENDOR:DEVICE CLASS [WORD...]: a PCI device at /sys/devices/pci0000:00/PATH.
pci() {
	local path=$1 vendor=${2%:*} device=${2#*:} class=$3 modalias
	shift 3
	modalias=pci:v0000${vendor^^}d0000${device^^}sv00000000sd00000000
	modalias+=bc${class:0:2}sc${class:2:2}i${class:4:2}
	device "pci0000:00/$path" pci "vendor=0x$vendor" "device=0x$device" "class=0x$class" \
		"modalias=$modalias" "$@"
}

# function_of PATH CLASS NAME [WORD...]: an interface (net) or a disk (block) of the device at
# /sys/devices/PATH.
function_of() {
	local class=$2 path=devices/$1/$2/$3 name=$3 word
	link "$path/device" "devices/$1"
	shift 3
	in_class "$class" "$name" "$path" "$@"
}

# in_class CLASS NAME PATH [WORD...]: what is at PATH, below /sys, has this name there.
in_class() {
	local class=$1 name=$2 path=$3 word
	shift 3
	file "$path/uevent"
	link "$path/subsystem" "class/$class"
	link "class/$class/$name" "$path"
	# A disk without a medium has no users that the kernel would have to be asked for.
	[[ $class != block ]] || file "$path/size" 0
	for word; do
		case $word in
		dev=*) link "dev/$class/${word#*=}" "$path" ;;&
		*-\>*) link "$path/${word%%->*}" "${word#*->}" ;;
		*) file "$path/${word%%=*}" "${word#*=}" ;;
		esac
	done
}

# --- the machine ---------------------------------------------------------------------

# machine: prints its tree.
machine() {
	local name
	file made-up
	for name in net block iommu vtconsole graphics nvme; do folder class/$name; done
	folder class/iommu/dmar0
	folder firmware/acpi/tables
	folder kernel/iommu_groups
	folder module
	bus pci ahci e1000e i801_smbus i915 lpc_ich nvme pci-stub pcieport snd_hda_intel \
		vfio-pci virtio-pci xhci_hcd
	bus virtio virtio_net
	bus usb usb
	bus scsi sd
	bus platform calxedaxgmac vfio-platform
	bus amba vfio-amba
	bus spi
	folder bus/amba/drivers/uart-pl011 # suppress_bind_attrs

	# A display, with the only console.
	pci 0000:00:02.0 8086:1912 030000 driver=i915 group=0 boot_vga=1 reset_method=flr
	# virtio: its network card is a device of the virtio bus, which cannot be flagged.
	pci 0000:00:03.0 1af4:1041 020000 driver=virtio-pci group=1
	device pci0000:00/0000:00:03.0/virtio0 virtio flag= driver=virtio_net
	function_of pci0000:00/0000:00:03.0/virtio0 net eth3
	# USB: what is behind the controller cannot be flagged.
	pci 0000:00:04.0 8086:a12f 0c0330 driver=xhci_hcd group=2
	device pci0000:00/0000:00:04.0/usb1 usb flag= driver=usb
	device pci0000:00/0000:00:04.0/usb1/1-1 usb flag= driver=usb
	# A PF, and its VFs: one for anybody, one for a guest.
	pci 0000:00:05.0 1b36:0010 010802 driver=nvme group=5 sriov_totalvfs=16 \
		sriov_drivers_autoprobe=0 reset= 'reset_method=flr bus' \
		"virtfn0->devices/pci0000:00/0000:00:05.1" "virtfn1->devices/pci0000:00/0000:00:05.2"
	pci 0000:00:05.1 1b36:0010 010802 group=8 reset= \
		"physfn->devices/pci0000:00/0000:00:05.0"
	pci 0000:00:05.2 1b36:0010 010802 driver=vfio-pci flag=vfio-pci group=9 reset= \
		"physfn->devices/pci0000:00/0000:00:05.0"
	file devices/pci0000:00/0000:00:05.2/vfio-dev/vfio0/dev 1:7 # /dev/full
	# An NVMe disk of its own, and one that two controllers lead to.
	pci 0000:00:10.0 1b36:0010 010802 driver=nvme group=10 reset=
	in_class nvme nvme0 devices/pci0000:00/0000:00:10.0/nvme/nvme0 \
		"device->devices/pci0000:00/0000:00:10.0"
	in_class block nvme0n1 devices/pci0000:00/0000:00:10.0/nvme/nvme0/nvme0n1 dev=1022:0 \
		"device->devices/pci0000:00/0000:00:10.0/nvme/nvme0"
	for name in 1 2; do
		pci 0000:00:11.$name 1b36:0010 010802 driver=nvme group=1$name reset=
		in_class nvme nvme$name devices/pci0000:00/0000:00:11.$name/nvme/nvme$name \
			"device->devices/pci0000:00/0000:00:11.$name"
		in_class block nvme1c${name}n1 \
			devices/pci0000:00/0000:00:11.$name/nvme/nvme$name/nvme1c${name}n1 \
			dev=1022:1$name hidden=1 \
			"device->devices/pci0000:00/0000:00:11.$name/nvme/nvme$name"
		link devices/virtual/nvme-subsystem/nvme-subsys1/nvme$name \
			devices/pci0000:00/0000:00:11.$name/nvme/nvme$name
	done
	in_class block nvme1n1 devices/virtual/nvme-subsystem/nvme-subsys1/nvme1n1 dev=1022:1 \
		"device->devices/virtual/nvme-subsystem/nvme-subsys1"
	# No IOMMU is in front of this one.
	pci 0000:00:12.0 8086:10d3 020000 driver=e1000e
	function_of pci0000:00/0000:00:12.0 net eth0 ifindex=1
	# Behind a port, in one group with it.
	pci 0000:00:1c.0 8086:a110 060400 driver=pcieport group=3
	pci 0000:00:1c.0/0000:01:00.0 8086:10d3 020000 driver=e1000e group=3 reset=
	function_of pci0000:00/0000:00:1c.0/0000:01:00.0 net eth1
	# A group of three; what is on the disk's controller cannot be flagged.
	pci 0000:00:1f.0 8086:2918 060100 driver=lpc_ich group=7
	pci 0000:00:1f.2 8086:2922 010601 driver=ahci group=7
	pci 0000:00:1f.3 8086:2930 0c0500 driver=i801_smbus group=7
	device pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0 scsi flag= driver=sd
	function_of pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0 block sda dev=1023:0
	in_class block sda1 \
		devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1 dev=1023:1 \
		partition=1

	# Of a board; the same name is on two buses, twice.
	device platform/fff51000.ethernet platform driver=calxedaxgmac \
		of_node/compatible=calxeda,hb-xgmac modalias=of:NethernetT\(null\)Ccalxeda,hb-xgmac
	device platform/twin platform
	device platform/half platform
	device platform/PNP0C0C:00 platform firmware_node/hid=PNP0C0C
	device amba/twin amba group=21
	device amba/fff36000.serial amba driver=uart-pl011 flag=
	device amba/fff37000.serial amba driver=uart-pl011 group=20
	device spi0.0 spi flag=
	device half spi flag=
}
