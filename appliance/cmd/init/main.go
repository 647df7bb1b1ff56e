// Init is process 1 on the device. See package boot.
package main

import (
	"os/exec"

	"github.com/gokrazy/gokrazy"

	"hearth.alt/appliance/boot"
)

func main() { boot.Main(boot.Gokrazy{Boot: gokrazy.Boot, Supervise: supervise}) }

func supervise(programs []*exec.Cmd) error {
	list := make([]*gokrazy.Service, len(programs))
	for i, p := range programs {
		list[i] = gokrazy.NewService(p)
	}
	return gokrazy.SuperviseServices(list)
}
