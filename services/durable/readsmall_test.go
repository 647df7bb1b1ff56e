package durable_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/services/durable"
)

// Process 1 and the keeper, both root, read small files in a folder that the unprivileged program may write in: a pipe
// there hung every boot for ever, and a link to /dev/zero took all memory.
func TestReadSmallNeitherWaitsNorFollows(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := unix.Mkfifo(at("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, to := range [][2]string{{"/dev/zero", "zero"}, {at("plain"), "link"}} {
		if err := os.Symlink(to[0], at(to[1])); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"plain": "hearth", "long": "hearth and more"} {
		if err := os.WriteFile(at(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"pipe", "zero", "link", "long", "", "missing"} {
			if b, err := durable.ReadSmall(at(name), 10); err == nil {
				t.Errorf("%q was read: %q", name, b)
			}
		}
		if b, err := durable.ReadSmall(at("plain"), 6); err != nil || string(b) != "hearth" {
			t.Errorf("a plain file: %q, %v", b, err)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits")
	}
}
