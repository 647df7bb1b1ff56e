// Testrun runs the tests as `make test` shows them; package hwtest/testrun says how. Run it from the root of the
// repository:
//
//	go run ./hwtest/cmd/testrun [-all [-record FILE]] [-short] [-run REGEXP] [packages]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"hearth.alt/hwtest/bench"
	"hearth.alt/hwtest/testrun"
)

const head = `# The full figures

` + "`make test-all`" + ` writes this page: every proof at the size its issue names. Absolute times are this machine's.

On %s at commit %s, on %s:
`

func main() {
	all := flag.Bool("all", false, "the full figures (HEARTH_TEST_ALL=1), without time limit or budget")
	short := flag.Bool("short", false, "leave out what takes long")
	run := flag.String("run", "", "only the tests whose names match this regular `expression`")
	record := flag.String("record", "", "write what ran and its figures to this `file`")
	flag.Parse()

	budgets, err := os.ReadFile("hwtest/budgets.txt")
	if err != nil {
		fail(fmt.Errorf("run this from the root of the repository: %w", err))
	}
	times, err := testrun.ParseBudgets(string(budgets))
	if err != nil {
		fail(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ci := os.Getenv("CI") == "true"
	var page strings.Builder
	cfg := testrun.Config{
		Packages: flag.Args(), All: *all, Short: *short, Run: *run,
		Strict: ci || os.Getenv("HEARTH_NO_SKIP") == "1", Timed: ci, Budgets: times,
		Out: os.Stdout, Err: os.Stderr,
	}
	if *record != "" {
		cfg.Record, cfg.Head = &page, fmt.Sprintf(head, time.Now().UTC().Format(time.DateOnly), bench.Commit(ctx, "."), bench.Machine())
	}
	ok, err := testrun.Run(ctx, cfg)
	if err != nil {
		fail(err)
	}
	if *record != "" {
		if err := os.WriteFile(*record, []byte(page.String()), 0o644); err != nil {
			fail(err)
		}
	}
	if !ok {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "testrun:", err)
	os.Exit(1)
}
