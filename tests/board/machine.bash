# shellcheck shell=bash disable=SC2034,SC2154
# The board, for tests/guest: QEMU's Calxeda Highbank. Sourced here and on the board.
architecture=armhf
compiler=arm-linux-gnueabihf-gcc
packages=(gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-system-arm)
module_variables=(ARCH=arm CROSS_COMPILE=arm-linux-gnueabihf-)

# Where the test modules go, in the folder of the kernel's modules: modprobe finds them.
module_folder=extra

# IPv6 not by itself: it would give every interface that is up an address. A
# test that wants it loads it. And there are no message-signalled interrupts on
# the board that VFIO would have to see isolated.
modprobe_conf='blacklist ipv6
options vfio_iommu_type1 allow_unsafe_interrupts=1
options iommufd allow_unsafe_interrupts=1'
# What is loaded at boot, and what has to be there then.
load=(sata_highbank xgmac rtc-pl031)
await=(/dev/sda)

# What QEMU's monitor is asked when the machine hangs.
monitor=("info registers -a")

# emulate: sets emulator, a command, and command_line, the kernel's.
emulate() {
	truncate -s 64M "$work/disk"
	command_line="console=ttyAMA0 log_buf_len=1M"
	emulator=(qemu-system-arm -M highbank -m 1024
		-kernel "$kernel/zImage" -dtb "$kernel/highbank.dtb"
		-nic "user,restrict=on" -nic "user,restrict=on"
		-drive "if=none,id=disk,format=raw,cache=unsafe,file=$work/disk"
		-device "ide-hd,bus=ide.0,drive=disk")
}
