// Command hearth is the whole of Hearth: the box itself (hearth run) and the verbs that ask a running one. What it
// does is in package appliance and package cli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"hearth.alt/appliance"
	"hearth.alt/appliance/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	os.Exit(cli.Run(ctx, appliance.Program(), os.Args[1:], os.Stdout, os.Stderr))
}
