package keeper

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// The files below secrets/, each of mode 0600 in a folder of mode 0700, both root's:
//
//	device        the device key's seed (Ed25519), 32 bytes
//	device-next   the one that will take its place; it becomes device by a rename, and so has the form of device
//	device-old    the one before, until it is erased
//	client        the client plane's WireGuard private key, 32 bytes
//	root-pending  the entropy of the household root, 32 bytes; until the words are confirmed
//	next-roots    the entropies of roots that may follow, 32 bytes each
//	ca            the intermediate's P-256 key, 32 bytes, then the certificates of root and intermediate, each
//	              after its length (4 bytes, big endian)
//	claim         the claim secret as text; only where no image wrote one
//	claimed       empty; the claim secret was forgotten
//
// Each but the last has the form: "HKY1", content, first 8 bytes of SHA-256("hearth keeper " + name + NUL + content).
// The sum tells damage from a key, and one file from another.
const (
	fileDevice    = "device"
	fileNext      = "device-next"
	fileOld       = "device-old"
	fileClient    = "client"
	fileRoot      = "root-pending"
	fileNextRoots = "next-roots"
	fileCA        = "ca"
	fileClaim     = "claim"
	fileClaimed   = "claimed"

	keyMagic   = "HKY1"
	sumSize    = 8
	maxKeyFile = 16 << 10
)

var errMissing = errors.New("there is no such key")

// vault is the folder secrets/.
type vault struct{ dir string }

func (v vault) path(name string) string { return filepath.Join(v.dir, name) }

func keySum(name string, content []byte) []byte {
	if name == fileNext {
		name = fileDevice
	}
	h := sha256.New()
	h.Write([]byte("hearth keeper " + name + "\x00"))
	h.Write(content)
	return h.Sum(nil)[:sumSize]
}

// formatKey and parseKey are the form of a key's file.
func formatKey(name string, content []byte) []byte {
	out := append([]byte(keyMagic), content...)
	return append(out, keySum(name, content)...)
}

func parseKey(name string, b []byte) ([]byte, bool) {
	if len(b) < len(keyMagic)+sumSize || len(b) > maxKeyFile || string(b[:len(keyMagic)]) != keyMagic {
		return nil, false
	}
	content, sum := b[len(keyMagic):len(b)-sumSize], b[len(b)-sumSize:]
	return content, subtle.ConstantTimeCompare(sum, keySum(name, content)) == 1
}

// read returns a key; errMissing when there is no file, ErrDamagedKey when it is not whole. size is the length the
// content must have, or 0.
func (v vault) read(name string, size int) ([]byte, error) {
	f, err := os.Open(v.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errMissing
	}
	if err != nil {
		return nil, because(ErrDamagedKey, fmt.Errorf("reading key %q: %w", name, err))
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, because(ErrDamagedKey, fmt.Errorf("reading key %q: %w", name, err))
	}
	content, ok := parseKey(name, b)
	if !ok || (size > 0 && len(content) != size) {
		return nil, because(ErrDamagedKey, fmt.Errorf("key %q: its %d bytes are not what was written", name, len(b)))
	}
	return content, nil
}

// write replaces a key.
//
// Crash points: keeper.key.writing, keeper.key.written, and those of durable.WriteFile.
func (v vault) write(name string, content []byte) error {
	durable.Point("keeper.key.writing")
	if err := durable.WriteFile(v.path(name), formatKey(name, content), 0o600); err != nil {
		return fmt.Errorf("writing key %q: %w", name, err)
	}
	durable.Point("keeper.key.written")
	return nil
}

// readOrMake returns a key, making it when there is no file. It never replaces one.
func (v vault) readOrMake(name string, size int, fresh func() []byte) ([]byte, error) {
	content, err := v.read(name, size)
	if !errors.Is(err, errMissing) {
		return content, err
	}
	content = fresh()
	if err := v.write(name, content); err != nil {
		return nil, err
	}
	return content, nil
}

// erase overwrites a file with zeros, then removes it, each step synced. On flash the old cells may live on until
// they are reused: that is why the root is meant to leave the box early, and not only by this call.
//
// Crash points: keeper.key.overwritten, durable.file.removed.
func (v vault) erase(name string) error { return eraseFile(v.path(name)) }

func eraseFile(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("erasing %q: %w", path, err)
	}
	st, err := f.Stat()
	if err == nil {
		_, err = f.WriteAt(make([]byte, st.Size()), 0)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("erasing %q: %w", path, err)
	}
	durable.Point("keeper.key.overwritten")
	if err := durable.Remove(path); err != nil {
		return fmt.Errorf("erasing %q: %w", path, err)
	}
	return nil
}

// finishErasing removes a file that erase had overwritten when the plug was pulled.
func (v vault) finishErasing(name string) error {
	b, err := os.ReadFile(v.path(name))
	if err != nil || len(b) == 0 || len(bytes.Trim(b, "\x00")) > 0 {
		return nil // missing is well, and damage of another kind is named by read
	}
	return durable.Remove(v.path(name))
}

// because gives a problem its cause.
func because(p *services.Problem, cause error) error {
	q := *p
	q.Cause = cause
	return &q
}
