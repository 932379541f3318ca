# shellcheck shell=bash disable=SC2034,SC2154
# The PC, for tests/guest: QEMU's q35 with an Intel IOMMU. Sourced here and on the PC.
architecture=amd64
compiler=gcc
packages=(gcc libc6-dev qemu-system-x86)
# There is no vmlinux to take types from.
module_variables=(CONFIG_DEBUG_INFO_BTF_MODULES=)

# Where the test modules go, in the folder of the kernel's modules. The variant driver
# would be VFIO's choice for every NVMe: no depmod sees it where it is.
module_folder=/modules

modprobe_conf=''
# What is loaded at boot, and what has to be there then. The numbers of disks
# and interfaces are as they come: a test asks sysfs for them.
load=(ahci sd_mod nvme e1000e lpc_ich i2c_i801)
await=(/dev/sda
	"/sys/bus/pci/devices/0000:00:10.0/nvme/nvme*/nvme*n1"
	"/sys/class/nvme-subsystem/nvme-subsys*/nvme*n1"
	"/sys/bus/pci/devices/0000:00:12.0/net/eth*"
	"/sys/bus/pci/devices/0000:01:00.0/net/eth*")

# What QEMU's monitor is asked when the machine hangs.
monitor=("info registers -a" "info lapic 0" "info lapic 1")

# emulate: sets emulator, a command, and command_line, the kernel's.
#
#   00:05.0  NVMe that can have 16 virtual functions, 00:05.1 to 00:07.0; no disk
#   00:10.0  NVMe with a disk of its own
#   00:11.0  NVMe whose disk could have a second path: the kernel puts it below
#            /sys/devices/virtual
#   00:12.0  e1000e
#   00:14.0  PCIe root port without ACS, so in one IOMMU group with
#   01:00.0  e1000e
#   00:15.0  VGA
#   00:16.0  sound
#   00:17.0  USB, with a keyboard and a stick
#   00:18.0  9p, whose share is called vb share, with a blank
#   00:1f.*  q35's own: LPC, AHCI with a disk, SMBus
#
# and pc-6.12-boot has eight sister cards more, e1000e:
#   00:13.0 to 00:13.7
emulate() {
	local disk sister iommu=on
	[[ $machine != *-noiommu ]] || iommu=off
	for disk in ata own shared stick; do truncate -s 64M "$work/$disk"; done
	command_line="console=ttyS0 intel_iommu=$iommu net.ifnames=0 ipv6.disable_ipv6=1 log_buf_len=4M"
	# A machine that others keep from running fails the test of its timer.
	command_line+=" no_timer_check"
	emulator=(qemu-system-x86_64 -M "q35,accel=tcg,kernel-irqchip=split" -cpu qemu64 -m 2048
		-kernel "$kernel/vmlinuz"
		-device "intel-iommu,intremap=on"
		-device "nvme-subsys,id=functions"
		-device "nvme,serial=functions,subsys=functions,addr=05.0,max_ioqpairs=34,msix_qsize=35,sriov_max_vfs=16,sriov_vq_flexible=32,sriov_vi_flexible=16"
		-device "nvme,serial=own,drive=own,addr=10.0"
		-device "nvme-subsys,id=paths"
		-device "nvme,serial=shared,subsys=paths,id=path,addr=11.0"
		-device "nvme-ns,bus=path,drive=shared,shared=on"
		-device "e1000e,netdev=net0,romfile=,addr=12.0"
		-device "pcie-root-port,id=bridge,chassis=1,disable-acs=on,addr=14.0"
		-device "e1000e,netdev=net1,romfile=,bus=bridge"
		-device "VGA,addr=15.0"
		-audiodev "none,id=none" -device "intel-hda,addr=16.0" -device "hda-duplex,audiodev=none"
		-device "qemu-xhci,id=usb,addr=17.0" -device "usb-kbd,bus=usb.0"
		-device "usb-storage,bus=usb.0,drive=stick"
		-fsdev "synth,id=share" -device "virtio-9p-pci,fsdev=share,mount_tag=vb share,addr=18.0"
		-device "ide-hd,bus=ide.0,drive=ata"
		-netdev "user,restrict=on,id=net0" -netdev "user,restrict=on,id=net1")
	if [[ $machine == *-boot ]]; then
		for sister in {0..7}; do
			emulator+=(-device "e1000e,romfile=,multifunction=on,addr=13.$sister")
		done
	fi
	for disk in ata own shared stick; do
		emulator+=(-drive "if=none,id=$disk,format=raw,cache=unsafe,file=$work/$disk")
	done
}
