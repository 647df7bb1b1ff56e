package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile replaces the file at path by data in one step that survives a power cut: a temporary file beside it,
// sync, rename, sync of the folder. The file has mode perm whatever the umask. The folder must exist.
//
// Crash points: durable.file.written, durable.file.renamed.
func WriteFile(path string, data []byte, perm fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-"+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %q: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("writing %q: %w", path, err)
		}
	}()
	if err := f.Chmod(perm); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	Point("durable.file.written")
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	Point("durable.file.renamed")
	return SyncDir(dir)
}

// Remove deletes the file at path and syncs its folder. A file that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	Point("durable.file.removed")
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in the folder dir durable: created, renamed and removed files.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// MakeDir creates the folder dir and its parents with mode perm and makes their names durable. A folder that is
// there already keeps its mode.
func MakeDir(dir string, perm fs.FileMode) error {
	if st, err := os.Stat(dir); err == nil {
		if !st.IsDir() {
			return fmt.Errorf("making folder %q: %w", dir, ErrNotFolder)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MakeDir(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// ErrNotFolder is matched by the error of MakeDir where a file is in the folder's place.
var ErrNotFolder = errors.New("a file is in its place")

// ClearTemporary removes what WriteFile left in dir when the plug was pulled. Call it once at start, before
// anything writes there.
func ClearTemporary(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := os.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ReadSmall reads the file at path, at most limit bytes of it being there. It is for whoever reads with more rights than
// the one who may write in that folder: a symbolic link, a pipe or a device in the file's place is refused at once and
// neither followed nor waited for, and so is a longer file.
func ReadSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("reading %q: %w", path, ErrNotSmall)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil {
		return nil, err
	} else if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("reading %q: %w", path, ErrNotSmall)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("reading %q: longer than %d bytes: %w", path, limit, ErrNotSmall)
	}
	return b, nil
}

// ErrNotSmall is matched by the error of ReadSmall where something else is in the file's place.
var ErrNotSmall = errors.New("it is not a small regular file")
