// Package cpio writes the archive the kernel unpacks as its first root (Linux Documentation/driver-api/early-userspace
// buffer-format.rst, the "newc" form). Everything is owned by root and has time 0.
package cpio

import (
	"bytes"
	"fmt"
)

// Entry is one name of the archive. Mode holds the type bits too: 0o040755 a folder, 0o100755 a program, 0o020600 a
// character device with Major and Minor.
type Entry struct {
	Name         string
	Mode         uint32
	Content      []byte
	Major, Minor uint32
}

// Archive returns the bytes of the archive with its trailer.
func Archive(entries []Entry) []byte {
	var out bytes.Buffer
	for i, e := range append(entries, Entry{Name: "TRAILER!!!"}) {
		fmt.Fprintf(&out, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
			i+1, e.Mode, 0, 0, 1, 0, len(e.Content), 0, 0, e.Major, e.Minor, len(e.Name)+1, 0)
		out.WriteString(e.Name + "\x00")
		pad(&out)
		out.Write(e.Content)
		pad(&out)
	}
	return out.Bytes()
}

func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
