// Bench measures what the house promises and writes hwtest/bench/latest.md; package hwtest/bench says how. Run it from
// the root of the repository, on a machine that does nothing else:
//
//	go run ./hwtest/cmd/bench [-only start,idle]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"hearth.alt/hwtest/bench"
)

func main() {
	var names []string
	for _, s := range bench.Suites {
		names = append(names, s.Name)
	}
	only := flag.String("only", "", "measure these `suites` and keep the other rows: "+strings.Join(names, ","))
	file := flag.String("out", "hwtest/bench/latest.md", "the page to renew")
	flag.Parse()
	c := bench.Config{Root: ".", File: *file, Out: os.Stdout}
	if *only != "" {
		c.Only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench.Run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
