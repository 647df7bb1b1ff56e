// Initramfs is the first program of a Raspberry Pi slot. See package initramfs.
package main

import "hearth.alt/appliance/boot/initramfs"

func main() { initramfs.Main() }
