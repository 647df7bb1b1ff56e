package logfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"hearth.alt/services/durable"
)

// Disk is the file system as a log needs it: the device's, or one that a test cuts the power of. One log uses it from
// one goroutine at a time, and reads while it appends.
type Disk interface {
	// Read returns the file's first bytes, at most most of them. The error matches fs.ErrNotExist where there is none.
	Read(path string, most int64) ([]byte, error)
	// Replace puts data in the place of the file in one step that survives a power cut, and makes the folders above it
	// when they are missing.
	Replace(path string, data []byte) error
	// Open opens a file that is there for writing.
	Open(path string) (File, error)
	// Tidy removes what a power cut left in the folder of a Replace that did not come to its end.
	Tidy(dir string) error
}

// File is an open file of a Disk. What was written, and to where it was cut, is certain to be there after a power cut
// only when Sync returned nil since.
type File interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}

// fileSystem is the Disk of the device. Folders get the mode 0700 and files 0600.
type fileSystem struct{}

func (fileSystem) Read(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b := make([]byte, min(st.Size(), most))
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) { // it was cut meanwhile
		err = nil
	}
	return b[:n], err
}

func (fileSystem) Replace(path string, data []byte) error {
	if err := durable.MakeDir(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, data, 0o600)
}

func (fileSystem) Open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err // not f: a nil *os.File in an interface is not nil
	}
	return f, nil
}

func (fileSystem) Tidy(dir string) error { return durable.ClearTemporary(dir) }
