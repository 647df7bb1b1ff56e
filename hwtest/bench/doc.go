// Package bench measures what the house promises about speed and size, beside its budgets (DESIGN.md,
// section 7): `make bench` writes hwtest/bench/latest.md.
//
//	Suites ── go test -bench ──> samples ── Rows ──> min / median / max, ratio, verdict ──> latest.md
//
// Every figure is a Go benchmark, here or beside what it measures, that runs once per sample (-benchtime 1x -count n)
// and reports its figures with ReportMetric. What is compared with a peer is measured beside it within one sample, who
// goes first taking turns, and the ratio is the median of the samples' own ratios: a machine that is busy with other
// things then slows both.
//
// Nothing here is a test: a figure over its budget is shown, and fails nothing. What could not be measured is said so
// with the reason. A row that was not asked for keeps what latest.md held, with its own date and commit.
package bench
