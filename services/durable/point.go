//go:build !crashpoints

package durable

// Point marks a place in a writing path where the plug may be pulled. In the program it does nothing. Built with
// the tag crashpoints, the process kills itself there when HEARTH_CRASH_AT names it; see point_crash.go.
//
// Names are "<package>.<what>.<step done>", constant strings, so that a test can list them from the source.
func Point(name string) {}
