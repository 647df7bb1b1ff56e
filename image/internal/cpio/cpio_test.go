package cpio_test

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"hearth.alt/image/internal/cpio"
)

// GNU cpio lists and unpacks what was written. The kernel is the other witness: hwtest/vm boots from it.
func TestArchiveIsReadByOthers(t *testing.T) {
	archive := cpio.Archive([]cpio.Entry{
		{Name: "dev", Mode: 0o040755},
		{Name: "init", Mode: 0o100755, Content: []byte("program")},
		{Name: "odd", Mode: 0o100644, Content: []byte("x")},
	})
	if len(archive)%4 != 0 || !bytes.Equal(archive, cpio.Archive([]cpio.Entry{
		{Name: "dev", Mode: 0o040755},
		{Name: "init", Mode: 0o100755, Content: []byte("program")},
		{Name: "odd", Mode: 0o100644, Content: []byte("x")},
	})) {
		t.Error("the archive is not padded, or differs from itself")
	}
	program, err := exec.LookPath("cpio")
	if err != nil {
		return // the format's fixed fields are checked below
	}
	cmd := exec.Command(program, "-idv")
	cmd.Dir = t.TempDir()
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "dev\ninit\nodd\n") {
		t.Errorf("cpio: %v\n%s", err, out)
	}
	if b, err := exec.Command("cat", filepath.Join(cmd.Dir, "init")).Output(); err != nil || string(b) != "program" {
		t.Errorf("init holds %q, %v", b, err)
	}
}

// The header's fields of the first entry, as the kernel's document numbers them.
func TestHeader(t *testing.T) {
	a := string(cpio.Archive([]cpio.Entry{{Name: "console", Mode: 0o020600, Major: 5, Minor: 1}}))
	want := "070701" + "00000001" + "00002180" + "00000000" + "00000000" + "00000001" + "00000000" + "00000000" +
		"00000000" + "00000000" + "00000005" + "00000001" + "00000008" + "00000000" + "console\x00"
	if !strings.HasPrefix(a, want) {
		t.Errorf("got  %q\nwant %q", a[:len(want)], want)
	}
	if !strings.Contains(a, "TRAILER!!!\x00") {
		t.Error("no trailer")
	}
}
