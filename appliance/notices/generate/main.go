// Generate renews appliance/notices/notices.json.gz: go run ./appliance/notices/generate, from anywhere in the
// repository. It changes nothing when the list is already right.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"hearth.alt/appliance/notices/internal/gather"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "renewing the notices:", err)
		os.Exit(1)
	}
}

func run() error {
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return err
	}
	root := filepath.Dir(strings.TrimSpace(string(mod)))
	list, err := gather.Gather(root)
	if err != nil {
		return err
	}
	text, err := gather.Pack(list)
	if err != nil {
		return err
	}
	file := filepath.Join(root, "appliance", "notices", "notices.json.gz")
	// Releases of Go compress differently; the file is only written when what it says changes.
	if old, err := unpack(file); err == nil && bytes.Equal(old, text) {
		return nil
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "the old list cannot be read and is replaced:", err)
	}
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := zw.Write(text); err != nil {
		return err
	}
	if err := zw.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

func unpack(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	zr, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(zr)
}
