package sim

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"

	"hearth.alt/services/identity"
)

// sector is how much a disk writes wholly or not at all.
const sector = 512

var (
	errPower   = errors.New("the power is off")
	errRefused = errors.New("the disk refused")
)

// disk is a box's disk of one file. What was not synced is lost in part when the power goes.
type disk struct {
	draw func(n int) int

	there  bool
	synced []byte // what is certain to be there
	now    []byte // what is read
	sizes  []int  // that the file may have after a power cut, beside that of synced

	fuse   int // operations until the power goes; 0 is never
	refuse int // operations until one is refused; 0 is never
	off    bool

	lies  bool   // Sync does nothing, as on cards that one should not buy
	first []byte // what it held at the beginning
}

var _ identity.Disk = (*disk)(nil)

// operation counts one, and says whether it is done: when it is not because the power goes now, cut is true and the
// operation may be done in part.
func (d *disk) operation() (cut bool, err error) {
	if d.off {
		return false, errPower
	}
	if d.fuse > 0 {
		if d.fuse--; d.fuse == 0 {
			d.off = true
			return true, errPower
		}
	}
	if d.refuse > 0 {
		if d.refuse--; d.refuse == 0 {
			return true, errRefused
		}
	}
	return false, nil
}

// Read implements identity.Disk.
func (d *disk) Read(path string, most int64) ([]byte, error) {
	if d.off {
		return nil, errPower
	}
	if !d.there || filepath.Base(path) != "log" { // what stands beside it is only there after Restore, which no box here does
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(d.now[:min(int(most), len(d.now))]), nil
}

// Replace implements identity.Disk.
func (d *disk) Replace(_ string, data []byte) error {
	cut, err := d.operation()
	if err != nil && (!cut || d.draw(2) == 0) {
		return err
	}
	d.there, d.synced, d.now, d.sizes = true, bytes.Clone(data), bytes.Clone(data), nil
	return err
}

// Tidy implements identity.Disk.
func (d *disk) Tidy(string) error { return nil }

// Open implements identity.Disk.
func (d *disk) Open(string) (identity.DiskFile, error) {
	if d.off {
		return nil, errPower
	}
	if !d.there {
		return nil, fs.ErrNotExist
	}
	return (*diskFile)(d), nil
}

// diskFile is the disk's file, open.
type diskFile disk

// WriteAt implements io.WriterAt. One that fails may have written a part.
func (f *diskFile) WriteAt(b []byte, at int64) (int, error) {
	d := (*disk)(f)
	cut, err := d.operation()
	n := len(b)
	if err != nil {
		n = 0
		if cut {
			n = d.draw(len(b) + 1)
		}
	}
	if end := int(at) + n; end > len(d.now) {
		d.now = append(d.now, make([]byte, end-len(d.now))...)
	}
	copy(d.now[at:], b[:n])
	if n > 0 {
		d.sizes = append(d.sizes, int(at)+d.draw(n), len(d.now))
	}
	return n, err
}

// Truncate implements identity.DiskFile.
func (f *diskFile) Truncate(size int64) error {
	d := (*disk)(f)
	cut, err := d.operation()
	if err != nil && (!cut || d.draw(2) == 0) {
		return err
	}
	d.now = d.now[:size:size]
	d.sizes = append(d.sizes, int(size))
	return err
}

// Sync implements identity.DiskFile. One that fails may have done it.
func (f *diskFile) Sync() error {
	d := (*disk)(f)
	cut, err := d.operation()
	if err != nil && (!cut || d.draw(2) == 0) || d.lies {
		return err
	}
	d.synced, d.sizes = bytes.Clone(d.now), nil
	return err
}

// Close implements identity.DiskFile.
func (f *diskFile) Close() error { return nil }

// restart is what the disk holds after a power cut: the length of some moment since the last sync, and each sector as
// it was then or now, zeros where there was none.
func (d *disk) restart() {
	size := len(d.synced)
	if len(d.sizes) > 0 {
		if i := d.draw(len(d.sizes) + 1); i > 0 {
			size = d.sizes[i-1]
		}
	}
	out := make([]byte, size)
	for at := 0; at < size; at += sector {
		from := d.synced
		if len(d.sizes) > 0 && d.draw(2) == 0 {
			from = d.now
		}
		if at < len(from) {
			copy(out[at:min(size, at+sector)], from[at:])
		}
	}
	d.synced, d.now, d.sizes, d.off, d.fuse, d.refuse = out, bytes.Clone(out), nil, false, 0, 0
}
