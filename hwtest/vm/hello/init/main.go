// Init is process 1 as gokrazy's own packer generates it: Boot, then supervise. No check of /perm, no growing.
package main

import (
	"log"
	"os/exec"
	"path"

	"github.com/gokrazy/gokrazy"

	"hearth.alt/boards"
)

func main() {
	if err := gokrazy.Boot("hello"); err != nil {
		log.Print(err)
	}
	var list []*gokrazy.Service
	add := func(p string) { list = append(list, gokrazy.NewService(&exec.Cmd{Path: p, Args: []string{p}})) }
	for _, p := range boards.Programs {
		add("/gokrazy/" + path.Base(p))
	}
	add("/user/hearth")
	if err := gokrazy.SuperviseServices(list); err != nil {
		log.Print(err)
	}
	select {}
}
