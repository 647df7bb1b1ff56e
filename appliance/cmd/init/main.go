// Init is process 1 on the device. See package boot.
package main

import "hearth.alt/appliance/boot"

func main() { boot.Main() }
