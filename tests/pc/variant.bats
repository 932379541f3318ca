#!/usr/bin/env bats
# Which VFIO driver a PCI device takes: the variant whose alias fits with the fewest
# wildcards. The modules are in /modules, where depmod sees none; a test puts them where
# it does.
#
#   vbvariant   vfio_pci: alias for vendor and device; its driver has another name
#   vbgeneric   vfio_pci: alias for the vendor; it has no driver at all

load ../helpers

EXTRA=/usr/lib/modules/$(uname -r)/extra

teardown() {
	vfio-bind release --all
	home "$NVME" nvme
	rm -rf "$EXTRA" /etc/modprobe.d/vb.conf
	depmod
	unload
}

# unload: what a test has loaded, whether depmod knows it or not.
unload() {
	local module
	for module in vbvariant vbgeneric vfio_pci; do
		[[ ! -d /sys/module/$module ]] || rmmod "$module"
	done
}

# offer MODULE...: a module tree that has these as well.
offer() {
	install -D -m 644 -t "$EXTRA" "${@/#//modules/}"
	depmod
}

# chosen MODULE DEVICE: that is the one for it, of all in the tree.
chosen() {
	unload
	vfio_bind 0 handoff --dry-run "$2"
	says "modprobe $1"$'\n'
}

@test "no variant: vfio-pci" {
	chosen vfio_pci "$NVME"
	vfio_bind 0 handoff "$NVME"
	device_is "$NVME" vfio-pci vfio-pci
}

@test "a generic and a specific variant: the specific one, whichever is alone the only one" {
	offer vbgeneric.ko
	chosen vbgeneric "$NVME"
	offer vbvariant.ko
	chosen vbvariant "$NVME"
	rm "$EXTRA/vbgeneric.ko"
	offer vbvariant.ko
	chosen vbvariant "$NVME"
	# For another vendor's hardware, neither.
	offer vbgeneric.ko
	chosen vfio_pci "$PCI_NIC"
}

@test "a device that only the generic variant fits" {
	offer vbgeneric.ko vbvariant.ko
	[[ $(vfio-bind list -nro ID "$BRIDGE") == 1b36:000c ]] # of that vendor, not that device
	run -0 modprobe -R "vfio_$(<"$(syspath "$BRIDGE")/modalias")"
	says vbgeneric
	run ! grep -x vbvariant <<<"$output"
}

@test "the driver's name is the loaded module's" {
	offer vbgeneric.ko vbvariant.ko
	vfio_bind 0 handoff "$NVME"
	device_is "$NVME" vb-special-vfio-pci vb-special-vfio-pci
	run -0 vfio-open "/dev/vfio/$(group_of "$NVME")" "${NVME#*/}"
	says "flags reset pci"
	# And again, with the module there.
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
	vfio_bind 0 handoff --driver=auto "$NVME" "$PCI_NIC"
	device_is "$NVME" vb-special-vfio-pci vb-special-vfio-pci
	device_is "$PCI_NIC" vfio-pci vfio-pci
	# Who wants the plain one names it.
	vfio_bind 0 handoff "$NVME" vfio-pci
	device_is "$NVME" vfio-pci vfio-pci
	vfio_bind 0 release "$NVME" "$PCI_NIC"
	is_home "$NVME" nvme
	is_home "$PCI_NIC" e1000e
}

@test "a variant that cannot be used is named, with the way out, and nothing is touched" {
	offer vbgeneric.ko
	vfio_bind 2 handoff "$NVME"
	says "0000:00:10.0: its VFIO driver's module vbgeneric has no driver"
	says "hint: to use another one, name it"
	is_home "$NVME" nvme
	vfio_bind 0 handoff "$NVME" vfio-pci
	device_is "$NVME" vfio-pci vfio-pci
}

@test "a module that modprobe.d blacklists is not chosen, nor announced" {
	offer vbgeneric.ko vbvariant.ko
	echo 'blacklist vbvariant' >/etc/modprobe.d/vb.conf
	chosen vbgeneric "$NVME"
	echo 'blacklist vbgeneric' >>/etc/modprobe.d/vb.conf
	chosen vfio_pci "$NVME"
	vfio_bind 0 handoff "$NVME"
	device_is "$NVME" vfio-pci vfio-pci
	vfio_bind 0 release "$NVME"
	# Who names it gets it.
	unload
	vfio_bind 0 handoff --dry-run "$NVME" vbvariant
	says "modprobe vbvariant"
	# And a host driver's is not loaded for the kernel to choose.
	vfio_bind 0 handoff "$NVME" none
	rm -r /run/vfio-bind
	modprobe -r nvme
	echo 'blacklist nvme' >/etc/modprobe.d/vb.conf
	vfio_bind 0 release -v "$NVME"
	[[ $output != *modprobe* ]]
	says "warning: no driver wants it"
	rm /etc/modprobe.d/vb.conf
	vfio_bind 0 release "$NVME"
	is_home "$NVME" nvme
}

@test "what the admin says in modprobe.d wins" {
	offer vbgeneric.ko vbvariant.ko
	echo 'alias vfio_pci:v00001B36d00000010sv* vfio_pci' >/etc/modprobe.d/vb.conf
	chosen vfio_pci "$NVME"
	rm /etc/modprobe.d/vb.conf
	chosen vbvariant "$NVME"
}
