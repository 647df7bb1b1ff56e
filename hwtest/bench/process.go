package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Memory is what the kernel says of one process in smaps_rollup, in bytes.
type Memory struct {
	RSS int64 // all pages it sees in memory; pages shared by two processes count in both
	PSS int64 // the same with shared pages divided among those who share them
	// Own is its anonymous memory: what cannot be dropped and read again from a file.
	Own int64
}

// ParseMemory reads /proc/PID/smaps_rollup.
func ParseMemory(text string) (Memory, error) {
	var m Memory
	found := 0
	for l := range strings.Lines(text) {
		w := strings.Fields(l)
		if len(w) != 3 || w[2] != "kB" {
			continue
		}
		to := map[string]*int64{"Rss:": &m.RSS, "Pss:": &m.PSS, "Anonymous:": &m.Own}[w[0]]
		if to == nil {
			continue
		}
		n, err := strconv.ParseInt(w[1], 10, 64)
		if err != nil || n < 0 || n > 1<<40 {
			return Memory{}, fmt.Errorf("memory of a process: %s %s", w[0], w[1])
		}
		*to = n << 10
		found++
	}
	if found != 3 {
		return Memory{}, fmt.Errorf("memory of a process: %d of three figures are there", found)
	}
	return m, nil
}

func memoryOf(pid int) (Memory, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return Memory{}, err
	}
	return ParseMemory(string(b))
}

// Stat is what /proc/PID/stat says of a process: who started it, and the processor time it used.
type Stat struct {
	PID, Parent int
	CPU         time.Duration // to 10 ms
}

// ParseStat reads /proc/PID/stat (proc(5)). The name in it may hold spaces and brackets.
func ParseStat(text string) (Stat, error) {
	open, end := strings.Index(text, " ("), strings.LastIndex(text, ") ")
	if open < 0 || end < open {
		return Stat{}, fmt.Errorf("a process's stat: %.60q", text)
	}
	w := strings.Fields(text[end+2:])
	if len(w) < 13 {
		return Stat{}, fmt.Errorf("a process's stat has %d fields", len(w))
	}
	n := [4]int64{}
	for i, s := range []string{text[:open], w[1], w[11], w[12]} {
		var err error
		if n[i], err = strconv.ParseInt(s, 10, 64); err != nil || n[i] < 0 || n[i] > 1<<40 {
			return Stat{}, fmt.Errorf("a process's stat: %q is no count", s)
		}
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every architecture we build for
	return Stat{PID: int(n[0]), Parent: int(n[1]), CPU: time.Duration(n[2]+n[3]) * tick}, nil
}

// family is pid and everything it started, directly or not, pid first.
func family(pid int) ([]Stat, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	all := map[int]Stat{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		s, err := ParseStat(string(b))
		if err != nil {
			return nil, err
		}
		all[s.PID] = s
	}
	first, ok := all[pid]
	if !ok {
		return nil, fmt.Errorf("process %d is gone", pid)
	}
	out := []Stat{first}
	for i := 0; i < len(out); i++ {
		for _, s := range all {
			if s.Parent == out[i].PID && s.PID != pid {
				out = append(out, s)
			}
		}
	}
	return out, nil
}

// wakes counts how often a process's threads began to run after waiting: their voluntary context switches. Threads
// that ended are not counted.
func wakes(pid int) (int64, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for l := range strings.Lines(string(b)) {
			if v, ok := strings.CutPrefix(l, "voluntary_ctxt_switches:"); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
				if err != nil {
					return 0, fmt.Errorf("%s: %q", f, l)
				}
				sum += n
			}
		}
	}
	return sum, nil
}
