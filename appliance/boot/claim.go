package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/durable"
)

// claimSlot is the place of the claim file on the boot partition: ConfigBlock bytes that are read and written
// without the file system. The partition is never mounted, so nothing else of it can change.
type claimSlot struct {
	d      device
	offset int64
}

// ErrNoClaimFile is returned when the boot partition has no claim file that a code fits into: someone deleted it, or
// saved it anew with an editor that made it shorter.
var ErrNoClaimFile = errors.New("the boot partition has no place for the claim code")

// findClaim finds the file by reading the FAT.
func findClaim(d device, b *boards.Board) (*claimSlot, error) {
	p := b.Table.Part(boards.BootNumber)
	f, err := disk.OpenFAT(d, p.Offset, p.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoClaimFile, err)
	}
	_, ext, err := f.Stat(boards.ClaimFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoClaimFile, err)
	}
	if len(ext) == 0 || ext[0].Length < boards.ConfigBlock || ext[0].Offset%boards.ConfigBlock != 0 {
		return nil, fmt.Errorf("%w: %s was changed", ErrNoClaimFile, boards.ClaimFile)
	}
	return &claimSlot{d, ext[0].Offset}, nil
}

func (c *claimSlot) read() ([]byte, error) {
	b := make([]byte, boards.ConfigBlock)
	_, err := c.d.ReadAt(b, c.offset)
	return b, err
}

// write replaces the block, and reads it back.
func (c *claimSlot) write(b []byte) error {
	if _, err := c.d.WriteAt(b, c.offset); err != nil {
		return err
	}
	durable.Point("boot.claim.written")
	if err := c.d.Sync(); err != nil {
		return err
	}
	got, err := c.read()
	if err == nil && !bytes.Equal(got, b) {
		err = errors.New("the card did not keep what was written")
	}
	return err
}

// readCode reads the code from the claim file, also from one that an editor saved anew in any length.
func readCode(r io.ReaderAt, b *boards.Board) (code claimcode.Code, done bool) {
	p := b.Table.Part(boards.BootNumber)
	f, err := disk.OpenFAT(r, p.Offset, p.Size)
	if err != nil {
		return code, false
	}
	text, err := f.ReadFile(boards.ClaimFile, 16*boards.KiB)
	if err != nil {
		return code, false
	}
	if boards.IsClaimDone(text) {
		return code, true
	}
	code, err = claimcode.ParseSheet(text)
	if err != nil {
		return claimcode.Code{}, false
	}
	return code, false
}

// ensureCode returns the claim code of an unowned box: the one on the card, or a new one which it writes there. A
// card that cannot take it is no hindrance: the code then lives until the power goes and is shown on the screen; the
// error says so. On an owned box it returns the zero Code.
func ensureCode(d device, b *boards.Board, owned bool) (claimcode.Code, error) {
	code, done := readCode(d, b)
	switch {
	case owned && (done || code.IsZero()):
		return claimcode.Code{}, nil
	case owned:
		// The plug was pulled between the claim and the erasing.
		return claimcode.Code{}, eraseOn(d, b)
	case !code.IsZero():
		return code, nil
	}
	// done without an owner is a card whose /perm is new: it may be claimed again, with a new code.
	code = claimcode.New()
	slot, err := findClaim(d, b)
	if err != nil {
		return code, err
	}
	sheet, err := code.Sheet("")
	if err != nil {
		return code, err
	}
	block, err := boards.ClaimSheet(sheet)
	if err != nil {
		return code, err
	}
	if err := slot.write(block); err != nil {
		return code, fmt.Errorf("writing the claim code to the card: %w", err)
	}
	return code, nil
}

func eraseOn(d device, b *boards.Board) error {
	slot, err := findClaim(d, b)
	if errors.Is(err, ErrNoClaimFile) {
		// A file saved anew by an editor cannot be written in place; the mark in the state makes its code worthless.
		return nil
	}
	if err != nil {
		return err
	}
	return slot.write(boards.ClaimDone())
}

// owned says whether the box was claimed.
func owned() bool {
	_, err := os.Stat(claimedMark)
	return err == nil
}

// publish puts the code where the keeper reads it.
func publish(dir string, code claimcode.Code) error {
	path := filepath.Join(dir, filepath.Base(ClaimPath))
	if code.IsZero() {
		return durable.Remove(path)
	}
	return durable.WriteFile(path, []byte(code.Text()), 0o600)
}

// ReadClaim returns the claim code that process 1 left for the keeper. It matches fs.ErrNotExist once the box has an
// owner, and off the device.
func ReadClaim() (claimcode.Code, error) {
	b, err := os.ReadFile(ClaimPath)
	if err != nil {
		return claimcode.Code{}, err
	}
	return claimcode.Parse(string(b))
}

// EraseClaim makes the claim code worthless and removes it from the card, from /run and so from the screen. The
// keeper calls it as root once the log has its first owner, and again at every start of an owned box: it is harmless
// when repeated and finishes what a pulled plug left. The mark in the state comes first, so a cut at any point leaves
// either an unowned box with its code, or an owned one without.
func EraseClaim() error {
	if err := durable.WriteFile(claimedMark, nil, 0o644); err != nil {
		return err
	}
	durable.Point("boot.claim.marked")
	if _, err := os.Stat(ClaimPath); errors.Is(err, fs.ErrNotExist) {
		return nil // process 1 found the mark at this boot and has erased the card's copy
	}
	r, err := ReadReport()
	if err != nil {
		return err
	}
	board, err := boards.Find(r.Board)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join("/dev", r.Disk), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := eraseOn(f, board); err != nil {
		return fmt.Errorf("erasing the claim code on the card: %w", err)
	}
	return durable.Remove(ClaimPath)
}
