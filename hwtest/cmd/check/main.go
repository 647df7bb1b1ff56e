// Check is `make check`; package hwtest/check says what it does. Run it from the root of the repository.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"hearth.alt/hwtest/check"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !check.Run(ctx, os.Stdout) {
		stop()
		os.Exit(1)
	}
}
