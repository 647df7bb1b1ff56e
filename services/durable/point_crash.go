//go:build crashpoints

package durable

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var pointsPassed atomic.Int64

// Point kills the process, as a power cut does for it, when HEARTH_CRASH_AT is "name" or "name:N" and this is the
// Nth time (counting from 1) that the named point is passed.
func Point(name string) {
	want, count, _ := strings.Cut(os.Getenv("HEARTH_CRASH_AT"), ":")
	if want == "" || want != name {
		return
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		n = 1
	}
	if pointsPassed.Add(1) == n {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way; nothing more may be written
	}
}
