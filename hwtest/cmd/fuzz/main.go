// Fuzz runs every fuzz target in the tree, one after another: go run ./hwtest/cmd/fuzz [-time 20s] [packages]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"hearth.alt/hwtest/testrun"
)

func main() {
	each := flag.Duration("time", 20*time.Second, "time for each target")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := testrun.Fuzz(ctx, os.Stdout, *each, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}
