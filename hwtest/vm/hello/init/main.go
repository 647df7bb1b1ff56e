// Init is process 1 as gokrazy's own packer generates it: Boot, then supervise. No check of /perm, no growing.
package main

import (
	"log"
	"os/exec"

	"github.com/gokrazy/gokrazy"
)

func main() {
	if err := gokrazy.Boot("hello"); err != nil {
		log.Print(err)
	}
	var list []*gokrazy.Service
	for _, path := range []string{"/gokrazy/dhcp", "/gokrazy/ntp", "/gokrazy/randomd", "/user/hearth"} {
		list = append(list, gokrazy.NewService(&exec.Cmd{Path: path, Args: []string{path}}))
	}
	if err := gokrazy.SuperviseServices(list); err != nil {
		log.Print(err)
	}
	select {}
}
