// Package testrun runs the house's tests the way `make test` shows them: one line per package with its time,
// failures with their output in full, every skipped test by name with its reason, and one last line that counts.
//
// Three things make a run fail: a test that failed, a package that did not build or ended early, and, where CI=true,
// a package that took more than twice its budget (hwtest/budgets.txt) or a test that was skipped. A proof that did
// not run proves nothing; HEARTH_NO_SKIP=1 asks for the last rule at home.
//
// The counts are of leaves: a test with subtests counts as these. The events are those of `go doc cmd/test2json`.
package testrun
