package keeper

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/services"
	"hearth.alt/services/clock"
	"hearth.alt/services/durable"
	"hearth.alt/services/firewall"
	"hearth.alt/services/secret"
)

// RecordDomain is what begins every message that identity has signed; see Config.RecordPrefix.
const RecordDomain = "hearth.alt household record 1\x00"

// CheckpointDomain is what begins every message that SignCheckpoint signs: witness.Domain.
const CheckpointDomain = "hearth.alt household checkpoint 1\x00"

// StatementDomain is what begins every message that SignStatement signs: account.SignDomain.
const StatementDomain = "hearth.alt credential statement 1\x00"

// Config is what a Local needs.
type Config struct {
	// State is the root of all state, an existing folder or one whose parent exists. Required.
	State string
	// Device says that this is an appliance: hostname, power and the full input policy are the keeper's. Dev lets
	// free ports and names stand in for taken ones. Not both.
	Device, Dev bool
	// Version of the program, for Info.
	Version string
	// RecordPrefix begins every message that SignRecord and SignWithRoot sign; "" means RecordDomain.
	RecordPrefix string
	// Root and Words are identity.RootFromEntropy and identity.WordsFromEntropy. Required.
	Root  func([32]byte) ed25519.PrivateKey
	Words func([32]byte) []secret.Text
	// Authority is certificate.MakeCA. Required.
	Authority func(CASpec) (root, intermediate []byte, key *ecdsa.PrivateKey, err error)
	// NewClaim makes a claim secret's text; CheckClaim says whether a text is one. claimcode has both. Required.
	NewClaim   func() string
	CheckClaim func(text string) error
	// ClaimFile is where init wrote the claim secret's text, "/run/hearth/claim" on a device; "" makes the keeper
	// make one at first use.
	ClaimFile string
	// EraseClaim erases the copies of the claim secret that the keeper does not know, on the FAT partition; nil
	// means there are none. It may be called again.
	EraseClaim func() error
	// HostnameFile is where process 1 finds the machine's name at the next boot; "" keeps none.
	HostnameFile string
	// Power restarts or switches off the machine; nil syncs the disks and asks the kernel.
	Power func(Power) error
	// Log is required.
	Log *slog.Logger
}

// Local does what a Keeper does, in this process. It is safe for concurrent use. Close it at the end.
type Local struct {
	cfg    Config
	vault  vault
	root   bool // this process is root
	device ed25519.PrivateKey
	client []byte
	bad    map[string]error // by file name, why a key cannot be used

	mu     sync.Mutex // guards the files below secrets/ and what follows
	tuns   map[string]*heldTUN
	rules  *firewall.State
	closed bool
}

var _ Keeper = (*Local)(nil)

// NewLocal makes the state's root and secrets/ where they are missing and reads the keys, making those of a first
// boot. A damaged key is no error here: Info names it and calls that need it fail. What a power cut left of an
// erasure is finished.
func NewLocal(cfg Config) (*Local, error) {
	switch {
	case cfg.State == "" || cfg.Root == nil || cfg.Words == nil || cfg.Authority == nil || cfg.NewClaim == nil || cfg.CheckClaim == nil || cfg.Log == nil:
		return nil, errors.New("keeper: State, Root, Words, Authority, NewClaim, CheckClaim and Log are required")
	case cfg.Device && cfg.Dev:
		return nil, errors.New("keeper: a device is not for development")
	}
	if cfg.RecordPrefix == "" {
		cfg.RecordPrefix = RecordDomain
	}
	if cfg.Power == nil {
		cfg.Power = power
	}
	l := &Local{cfg: cfg, vault: vault{filepath.Join(cfg.State, "secrets")}, root: os.Geteuid() == 0, bad: map[string]error{}, tuns: map[string]*heldTUN{}}
	if err := durable.MakeDir(cfg.State, 0o755); err != nil {
		return nil, fmt.Errorf("making the state's folder: %w", err)
	}
	if err := durable.MakeDir(l.vault.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of keys: %w", err)
	}
	if st, err := os.Lstat(l.vault.dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("the folder of keys %q is not a folder: %w", l.vault.dir, err)
	}
	if err := os.Chmod(l.vault.dir, 0o700); err != nil {
		return nil, err
	}
	if err := durable.ClearTemporary(l.vault.dir); err != nil {
		return nil, err
	}
	for _, name := range []string{fileRoot, fileClaim} {
		if err := l.vault.finishErasing(name); err != nil {
			return nil, err
		}
	}
	if err := l.vault.finishAdopting(); err != nil {
		return nil, err
	}
	l.readKeys()
	if l.claimed() {
		if err := l.eraseClaim(); err != nil {
			cfg.Log.Error("erasing the claim code", "error", err)
		}
	}
	return l, nil
}

// readKeys reads the two keys that every box has. The client key is written first and the household log needs the
// device key, so a key that is missing beside one of those was lost, and a lost key is not replaced either.
func (l *Local) readKeys() {
	used := func(names ...string) bool {
		for _, n := range names {
			if st, err := os.Lstat(filepath.Join(l.cfg.State, n)); err == nil && (st.IsDir() || st.Size() > 0) {
				return true
			}
		}
		return false
	}
	read := func(name string, size int, fresh func() []byte, beside ...string) []byte {
		if used(beside...) && !used("secrets/"+name) {
			l.bad[name] = because(ErrDamagedKey, fmt.Errorf("key %q is gone", name))
			return nil
		}
		b, err := l.vault.readOrMake(name, size, fresh)
		if err != nil {
			l.bad[name] = err
			return nil
		}
		return b
	}
	l.client = read(fileClient, 32, func() []byte {
		b := random(32)
		b[0] &= 248 // Curve25519's clamping (RFC 7748, section 5), as `wg genkey` does it
		b[31] = b[31]&127 | 64
		return b
	}, "secrets/"+fileDevice, "identity/log")
	if seed := read(fileDevice, ed25519.SeedSize, func() []byte { return random(ed25519.SeedSize) }, "identity/log"); seed != nil {
		l.device = ed25519.NewKeyFromSeed(seed)
	}
	for name, err := range l.bad {
		l.cfg.Log.Error("a key is damaged and is not replaced", "key", name, "error", err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // it never fails: a system without randomness ends the program
	return b
}

// Close lets go of the TUN and, on a laptop, takes the firewall's table away. A device stays closed.
func (l *Local) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	if l.rules != nil && !l.cfg.Device && l.root {
		errs = append(errs, firewall.Remove(*l.rules))
	}
	for _, t := range l.tuns {
		errs = append(errs, t.file.Close())
	}
	return errors.Join(errs...)
}

// PeerID implements Keeper.
func (l *Local) PeerID() services.PeerID {
	if l.device == nil {
		return services.PeerID{}
	}
	return services.PeerID(l.device.Public().(ed25519.PublicKey))
}

// Info implements Keeper.
func (l *Local) Info(context.Context) (Info, error) {
	i := Info{PeerID: l.PeerID(), Device: l.cfg.Device, Dev: l.cfg.Dev, Root: l.root, Version: l.cfg.Version}
	for name := range l.bad {
		i.Damaged = append(i.Damaged, name)
	}
	slices.Sort(i.Damaged)
	return i, nil
}

// maxMessage is the longest message that is signed, bytes.
const maxMessage = 16 << 10

func (l *Local) mayBeSigned(message []byte) error {
	if !bytes.HasPrefix(message, []byte(l.cfg.RecordPrefix)) || len(message) > maxMessage {
		return because(ErrNotAllowed, errors.New("only records of the household log are signed"))
	}
	return nil
}

// SignRecord implements Keeper.
func (l *Local) SignRecord(_ context.Context, message []byte) ([]byte, error) {
	if err := l.mayBeSigned(message); err != nil {
		return nil, err
	}
	if l.device == nil {
		return nil, l.bad[fileDevice]
	}
	return ed25519.Sign(l.device, message), nil
}

// SignCheckpoint implements Keeper.
func (l *Local) SignCheckpoint(_ context.Context, message []byte) ([]byte, error) {
	return l.signIn(CheckpointDomain, message)
}

// SignStatement implements Keeper.
func (l *Local) SignStatement(_ context.Context, message []byte) ([]byte, error) {
	return l.signIn(StatementDomain, message)
}

// signIn signs with the device key what begins with domain.
func (l *Local) signIn(domain string, message []byte) ([]byte, error) {
	if !bytes.HasPrefix(message, []byte(domain)) || len(message) > maxMessage {
		return nil, because(ErrNotAllowed, fmt.Errorf("only what begins with %q is signed so", domain))
	}
	if l.device == nil {
		return nil, l.bad[fileDevice]
	}
	return ed25519.Sign(l.device, message), nil
}

// SignHandshake implements Keeper.
func (l *Local) SignHandshake(_ context.Context, message []byte) ([]byte, error) {
	if !isHandshake(message) {
		return nil, because(ErrNotAllowed, errors.New("this is not what a TLS 1.3 handshake has signed"))
	}
	if l.device == nil {
		return nil, l.bad[fileDevice]
	}
	return ed25519.Sign(l.device, message), nil
}

// isHandshake says whether message is what TLS 1.3 has an end of a handshake sign (RFC 8446, section 4.4.3). No record
// of the household log is: records do not begin with blanks.
func isHandshake(message []byte) bool {
	rest, ok := bytes.CutPrefix(message, bytes.Repeat([]byte(" "), 64))
	if !ok {
		return false
	}
	for _, context := range []string{"TLS 1.3, client CertificateVerify\x00", "TLS 1.3, server CertificateVerify\x00"} {
		if hash, ok := bytes.CutPrefix(rest, []byte(context)); ok {
			return len(hash) == sha256.Size || len(hash) == sha512.Size384
		}
	}
	return false
}

// ClientKey implements Keeper.
func (l *Local) ClientKey(context.Context) (secret.Bytes, error) {
	if l.client == nil {
		return secret.Bytes{}, l.bad[fileClient]
	}
	return secret.NewBytes(bytes.Clone(l.client)), nil
}

// pendingRoot returns the entropy that is kept. The caller holds mu.
func (l *Local) pendingRoot() ([32]byte, error) {
	b, err := l.vault.read(fileRoot, 32)
	if errors.Is(err, errMissing) {
		return [32]byte{}, ErrNoRoot
	}
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(b), nil
}

// MakeRoot implements Keeper.
func (l *Local) MakeRoot(context.Context) (ed25519.PublicKey, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entropy, err := l.pendingRoot()
	if errors.Is(err, ErrNoRoot) {
		entropy = [32]byte(random(32))
		err = l.vault.write(fileRoot, entropy[:])
	}
	if err != nil {
		return nil, err
	}
	return l.cfg.Root(entropy).Public().(ed25519.PublicKey), nil
}

// RootWords implements Keeper.
func (l *Local) RootWords(context.Context) ([]secret.Text, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entropy, err := l.pendingRoot()
	if err != nil {
		return nil, err
	}
	return l.cfg.Words(entropy), nil
}

// SignWithRoot implements Keeper.
func (l *Local) SignWithRoot(_ context.Context, message []byte) ([]byte, error) {
	if err := l.mayBeSigned(message); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	entropy, err := l.pendingRoot()
	if err != nil {
		return nil, err
	}
	return ed25519.Sign(l.cfg.Root(entropy), message), nil
}

// EraseRoot implements Keeper.
func (l *Local) EraseRoot(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vault.erase(fileRoot)
}

// maxNextRoots is how many KeepNextRoots takes.
const maxNextRoots = 4

// NextRoots implements Keeper.
func (l *Local) NextRoots(context.Context) ([]secret.Bytes, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := l.vault.read(fileNextRoots, 0)
	switch {
	case errors.Is(err, errMissing):
		return nil, nil
	case err != nil:
		return nil, err
	case len(b)%32 != 0:
		return nil, because(ErrDamagedKey, fmt.Errorf("key %q has %d bytes", fileNextRoots, len(b)))
	}
	var out []secret.Bytes
	for one := range slices.Chunk(b, 32) {
		out = append(out, secret.NewBytes(one))
	}
	return out, nil
}

// KeepNextRoots implements Keeper.
func (l *Local) KeepNextRoots(_ context.Context, entropies []secret.Bytes) error {
	var b []byte
	for _, e := range entropies {
		if e.Len() != 32 || len(entropies) > maxNextRoots {
			return because(ErrInvalid, fmt.Errorf("%d entropies, one of %d bytes", len(entropies), e.Len()))
		}
		b = append(b, e.Reveal()...)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.vault.write(fileNextRoots, b)
}

// MakeCA implements Keeper.
func (l *Local) MakeCA(_ context.Context, spec CASpec) error {
	if len(spec.LAN) > firewall.MaxNetworks || len(spec.Name) > 255 || len(spec.Domain) > 255 || len(spec.Label) > 63 {
		return because(ErrInvalid, errors.New("a name or a list of networks is too long"))
	}
	root, intermediate, key, err := l.cfg.Authority(spec)
	if err != nil {
		return because(ErrInvalid, err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch _, err := l.vault.read(fileCA, 0); {
	case err == nil:
		return ErrHaveCA
	case !errors.Is(err, errMissing):
		return err
	}
	return l.vault.write(fileCA, formatCA(scalar, root, intermediate))
}

func formatCA(scalar, root, intermediate []byte) []byte {
	out := bytes.Clone(scalar)
	out = append(binary.BigEndian.AppendUint32(out, uint32(len(root))), root...)
	return append(binary.BigEndian.AppendUint32(out, uint32(len(intermediate))), intermediate...)
}

func parseCA(b []byte) (scalar, root, intermediate []byte, ok bool) {
	part := func(n int) []byte {
		if n < 0 || n > len(b) || !ok {
			ok = false
			return nil
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	length := func() int {
		if p := part(4); ok {
			return int(binary.BigEndian.Uint32(p))
		}
		return -1
	}
	ok = true
	scalar = part(32)
	root = part(length())
	intermediate = part(length())
	return scalar, root, intermediate, ok && len(b) == 0
}

func (l *Local) authority() (scalar, root, intermediate []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := l.vault.read(fileCA, 0)
	if errors.Is(err, errMissing) {
		return nil, nil, nil, ErrNoCA
	}
	if err != nil {
		return nil, nil, nil, err
	}
	scalar, root, intermediate, ok := parseCA(b)
	if !ok {
		return nil, nil, nil, because(ErrDamagedKey, fmt.Errorf("key %q has another form", fileCA))
	}
	return scalar, root, intermediate, nil
}

// CACertificates implements Keeper.
func (l *Local) CACertificates(context.Context) (root, intermediate []byte, err error) {
	_, root, intermediate, err = l.authority()
	return root, intermediate, err
}

// SignCertificate implements Keeper.
func (l *Local) SignCertificate(_ context.Context, digest []byte) ([]byte, error) {
	if len(digest) != 32 {
		return nil, because(ErrInvalid, fmt.Errorf("a digest of %d bytes, want 32", len(digest)))
	}
	scalar, _, _, err := l.authority()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, because(ErrDamagedKey, fmt.Errorf("key %q: %w", fileCA, err))
	}
	return ecdsa.SignASN1(rand.Reader, key, digest)
}

func (l *Local) claimed() bool {
	_, err := os.Lstat(l.vault.path(fileClaimed))
	return err == nil
}

// ClaimSecret implements Keeper.
func (l *Local) ClaimSecret(context.Context) (secret.Text, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimed() {
		return secret.Text{}, ErrClaimed
	}
	var text string
	if l.cfg.ClaimFile != "" {
		b, err := os.ReadFile(l.cfg.ClaimFile)
		if err != nil {
			return secret.Text{}, because(ErrDamagedKey, fmt.Errorf("reading the claim code: %w", err))
		}
		text = strings.TrimSpace(string(b[:min(len(b), 256)]))
	} else {
		b, err := l.vault.readOrMake(fileClaim, 0, func() []byte { return []byte(l.cfg.NewClaim()) })
		if err != nil {
			return secret.Text{}, err
		}
		text = string(b)
	}
	if err := l.cfg.CheckClaim(text); err != nil {
		return secret.Text{}, because(ErrDamagedKey, fmt.Errorf("the claim code: %w", err))
	}
	return secret.NewText(text), nil
}

// ForgetClaimSecret implements Keeper. The mark that the box is claimed is written first; whatever a power cut leaves
// after that is erased at the next start.
//
// Crash point: keeper.claim.marked.
func (l *Local) ForgetClaimSecret(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.claimed() {
		if err := durable.WriteFile(l.vault.path(fileClaimed), nil, 0o600); err != nil {
			return fmt.Errorf("marking the box as claimed: %w", err)
		}
	}
	durable.Point("keeper.claim.marked")
	return l.eraseClaim()
}

func (l *Local) eraseClaim() error {
	err := l.vault.erase(fileClaim)
	if l.cfg.ClaimFile != "" {
		err = errors.Join(err, eraseFile(l.cfg.ClaimFile))
	}
	if l.cfg.EraseClaim != nil {
		err = errors.Join(err, l.cfg.EraseClaim())
	}
	return err
}

// ApplyFirewall implements Keeper.
func (l *Local) ApplyFirewall(ctx context.Context, s firewall.State) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Device = l.cfg.Device
	if err := s.Check(); err != nil {
		return because(ErrInvalid, err)
	}
	if s.TUN != "" && !slices.ContainsFunc(slices.Collect(mapValues(l.tuns)), func(t *heldTUN) bool { return t.name == s.TUN }) {
		return because(ErrNotAllowed, fmt.Errorf("interface %q is not the keeper's", s.TUN))
	}
	if s.Device {
		for _, p := range slices.Concat(s.Anywhere, s.Home) {
			if !slices.Contains(firewall.DeviceAnywhere(), p) && !slices.Contains(firewall.DeviceHome(), p) {
				return because(ErrNotAllowed, fmt.Errorf("port %s is not opened outside the tunnel", p))
			}
		}
		for _, p := range s.Anywhere {
			if !slices.Contains(firewall.DeviceAnywhere(), p) {
				return because(ErrNotAllowed, fmt.Errorf("port %s is not opened to everybody", p))
			}
		}
	}
	if !s.Device && s.TUN == "" && l.rules == nil {
		return nil // nothing to guard, and nothing that needs root
	}
	if !l.root {
		return ErrNoTUN
	}
	if l.rules != nil && !s.Device && l.rules.TUN != s.TUN {
		if err := firewall.Remove(*l.rules); err != nil {
			return err
		}
		l.rules = nil
	}
	if err := firewall.Apply(ctx, s); err != nil {
		return err
	}
	l.rules = &s
	return nil
}

func mapValues[K comparable, V any](m map[K]V) func(yield func(V) bool) {
	return func(yield func(V) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

var labelForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// SetHostname implements Keeper.
func (l *Local) SetHostname(_ context.Context, name string) error {
	if !labelForm.MatchString(name) {
		return because(ErrInvalid, fmt.Errorf("%q is not a host's name", name))
	}
	if !l.cfg.Device {
		return ErrNotDevice
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("setting the hostname: %w", err)
	}
	if l.cfg.HostnameFile == "" {
		return nil
	}
	if kept, err := durable.ReadSmall(l.cfg.HostnameFile, 1<<10); err == nil && string(kept) == name {
		return nil
	}
	return durable.WriteFile(l.cfg.HostnameFile, []byte(name), 0o644)
}

// Power implements Keeper.
func (l *Local) Power(_ context.Context, how Power) error {
	if how != Restart && how != Off {
		return because(ErrInvalid, fmt.Errorf("power %q", how))
	}
	if !l.cfg.Device {
		return ErrNotDevice
	}
	l.cfg.Log.Info("the machine is asked to stop", "how", string(how))
	// The answer is to reach the caller first, so that a page can say what happens.
	time.AfterFunc(500*time.Millisecond, func() {
		if err := l.cfg.Power(how); err != nil {
			l.cfg.Log.Error("stopping the machine", "how", string(how), "error", err)
		}
	})
	return nil
}

func power(how Power) error {
	unix.Sync()
	if how == Off {
		return unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// Machine implements Keeper.
func (l *Local) Machine(context.Context) (Machine, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(l.cfg.State, &st); err != nil {
		return Machine{}, fmt.Errorf("asking for the disk's space: %w", &fs.PathError{Op: "statfs", Path: l.cfg.State, Err: err})
	}
	return Machine{
		ClockSet:  clockSet(l.cfg.Device),
		DiskTotal: int64(st.Blocks) * int64(st.Bsize),
		DiskFree:  int64(st.Bavail) * int64(st.Bsize),
	}, nil
}

// clockSet says whether something set the system clock. The kernel knows it of a clock that NTP disciplines. The
// image's NTP program only sets the time, which leaves the kernel's flag unset; but a board without a clock battery
// starts in 1970, and so on a device a time after the program was built was set by someone. On a laptop the owner
// keeps the clock.
func clockSet(device bool) bool {
	var t unix.Timex
	if state, err := unix.Adjtimex(&t); err == nil && state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0 {
		return true
	}
	if !device {
		return true
	}
	floor, err := time.Parse(time.RFC3339, clock.Floor)
	return err == nil && time.Now().After(floor)
}
