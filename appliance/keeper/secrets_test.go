package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hearth.alt/appliance/keeper"
	"hearth.alt/services/secret"
)

// used is a state with every kind of key in it.
func used(t *testing.T) string {
	t.Helper()
	state := t.TempDir()
	l := local(t, config(state))
	if _, err := l.ClaimSecret(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.MakeRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.KeepNextRoots(t.Context(), []secret.Bytes{secret.NewBytes(make([]byte, 32))}); err != nil {
		t.Fatal(err)
	}
	if err := l.MakeCA(t.Context(), keeper.CASpec{Domain: "smith.home.arpa"}); err != nil {
		t.Fatal(err)
	}
	return state
}

func TestSecretFilesAreTheKeepersOnly(t *testing.T) {
	state := used(t)
	secrets := filepath.Join(state, "secrets")
	if st, err := os.Stat(secrets); err != nil || st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("secrets/ has mode %v, %v", st.Mode(), err)
	}
	all, err := os.ReadDir(secrets)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name())
		if info, err := e.Info(); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if want := []string{"ca", "claim", "client", "device", "next-roots", "root-pending"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	// A folder that was opened up is closed at the next start.
	os.Chmod(secrets, 0o755)
	local(t, config(state))
	if st, _ := os.Stat(secrets); st.Mode().Perm() != 0o700 {
		t.Errorf("secrets/ has mode %v after a start", st.Mode())
	}
}

// TestDamagedKeysAreNotReplaced tries several kinds of damage on each key: its call fails and says so, the file stays
// as it is, every other call works.
func TestDamagedKeysAreNotReplaced(t *testing.T) {
	ask := map[string]func(k keeper.Keeper) error{
		"device":       func(k keeper.Keeper) error { _, err := k.SignRecord(context.Background(), record); return err },
		"client":       func(k keeper.Keeper) error { _, err := k.ClientKey(context.Background()); return err },
		"root-pending": func(k keeper.Keeper) error { _, err := k.MakeRoot(context.Background()); return err },
		"next-roots":   func(k keeper.Keeper) error { _, err := k.NextRoots(context.Background()); return err },
		"ca": func(k keeper.Keeper) error {
			_, err := k.SignCertificate(context.Background(), make([]byte, 32))
			return err
		},
		"claim": func(k keeper.Keeper) error { _, err := k.ClaimSecret(context.Background()); return err },
	}
	for name := range ask {
		for kind, damage := range map[string]func([]byte) []byte{
			"empty":           func([]byte) []byte { return nil },
			"cut":             func(b []byte) []byte { return b[:len(b)-1] },
			"one bit":         func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
			"longer":          func(b []byte) []byte { return append(b, 0) },
			"much longer":     func(b []byte) []byte { return append(b, make([]byte, 1<<20)...) },
			"another's":       func(b []byte) []byte { return nil }, // replaced below
			"half zeros":      func(b []byte) []byte { clear(b[len(b)/2:]); return b },
			"another version": func(b []byte) []byte { b[3] = '2'; return b },
		} {
			t.Run(name+" "+kind, func(t *testing.T) {
				state := used(t)
				path := filepath.Join(state, "secrets", name)
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				b = damage(b)
				if kind == "another's" {
					other := "device"
					if name == other {
						other = "client"
					}
					b, _ = os.ReadFile(filepath.Join(state, "secrets", other))
				}
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				l, err := keeper.NewLocal(config(state))
				if err != nil {
					t.Fatalf("the keeper does not start: %v", err)
				}
				defer l.Close()
				if err := l.MakeCA(t.Context(), keeper.CASpec{Domain: "smith.home.arpa"}); name == "ca" && !errors.Is(err, keeper.ErrDamagedKey) {
					t.Errorf("an authority in the place of a damaged one: %v", err)
				}
				for n, call := range ask {
					err := call(l)
					if n == name && !errors.Is(err, keeper.ErrDamagedKey) {
						t.Errorf("%s: %v, want ErrDamagedKey", n, err)
					}
					if n != name && err != nil {
						t.Errorf("%s: %v", n, err)
					}
				}
				if _, err := l.SignHandshake(t.Context(), handshake("server", 32)); errors.Is(err, keeper.ErrDamagedKey) != (name == "device") {
					t.Errorf("signing a handshake: %v", err)
				}
				if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
					t.Errorf("the damaged file was changed: %v", err)
				}
				i, _ := l.Info(t.Context())
				if (name == "device" || name == "client") != slices.Contains(i.Damaged, name) || (name == "device") != l.PeerID().IsZero() {
					t.Errorf("info: %+v", i)
				}
			})
		}
	}
}

func TestLostKeysAreNotReplaced(t *testing.T) {
	state := used(t)
	os.MkdirAll(filepath.Join(state, "identity"), 0o700)
	os.WriteFile(filepath.Join(state, "identity", "log"), []byte("records"), 0o600)
	for _, name := range []string{"device", "client"} {
		os.Remove(filepath.Join(state, "secrets", name))
	}
	l := local(t, config(state))
	if i, _ := l.Info(t.Context()); !slices.Equal(i.Damaged, []string{"client", "device"}) {
		t.Errorf("%+v", i)
	}
	if _, err := os.Stat(filepath.Join(state, "secrets", "device")); !os.IsNotExist(err) {
		t.Errorf("a new device key beside the household's log: %v", err)
	}
}

// TestADamagedNextKeyIsNeverUsed: the box stays who it is, and another next key can be had.
func TestADamagedNextKeyIsNeverUsed(t *testing.T) {
	for kind, damage := range map[string]func([]byte) []byte{
		"empty":        func([]byte) []byte { return nil },
		"cut":          func(b []byte) []byte { return b[:len(b)-1] },
		"one bit":      func(b []byte) []byte { b[len(b)/2] ^= 4; return b },
		"zeros":        func(b []byte) []byte { clear(b); return b },
		"longer":       func(b []byte) []byte { return append(b, 0) },
		"a longer key": func([]byte) []byte { return nil }, // replaced below
	} {
		t.Run(kind, func(t *testing.T) {
			state := used(t)
			l := local(t, config(state))
			id, err := l.NextDevice(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(state, "secrets", "device-next")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = damage(b)
			if kind == "a longer key" {
				b, _ = os.ReadFile(filepath.Join(state, "secrets", "ca"))
			}
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := l.AdoptDevice(t.Context(), id); !errors.Is(err, keeper.ErrDamagedKey) {
				t.Errorf("adopting it: %v, want ErrDamagedKey", err)
			}
			again := local(t, config(state))
			if again.PeerID() != l.PeerID() {
				t.Fatal("the box is another")
			}
			other, err := again.NextDevice(t.Context())
			if err != nil || other == id {
				t.Fatalf("another next key: %v, %v", other, err)
			}
			if err := again.AdoptDevice(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if now := local(t, config(state)).PeerID(); now != other {
				t.Errorf("%v, want %v", now, other)
			}
		})
	}
}

// TestTheOldDeviceKeyIsErased looks at the file's cells by a second name.
func TestTheOldDeviceKeyIsErased(t *testing.T) {
	state := used(t)
	watch := filepath.Join(state, "watch")
	if err := os.Link(filepath.Join(state, "secrets", "device"), watch); err != nil {
		t.Fatal(err)
	}
	l := local(t, config(state))
	id, err := l.NextDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AdoptDevice(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(watch); err != nil || len(b) != 44 || len(bytes.Trim(b, "\x00")) != 0 {
		t.Errorf("what is left of it: %x, %v", b, err)
	}
	for _, name := range []string{"device-next", "device-old"} {
		if _, err := os.Lstat(filepath.Join(state, "secrets", name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

// TestADamagedDeviceKeyCanBeGivenUp: the way back of a box whose own key is lost or damaged is the same one.
func TestADamagedDeviceKeyCanBeGivenUp(t *testing.T) {
	for kind, damage := range map[string]func(path string) error{
		"lost":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("HKY1"), 0o600) },
	} {
		t.Run(kind, func(t *testing.T) {
			state := used(t)
			if err := os.MkdirAll(filepath.Join(state, "identity", "log"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(state, "secrets", "device")); err != nil {
				t.Fatal(err)
			}
			l := local(t, config(state))
			if !l.PeerID().IsZero() {
				t.Fatal("the damage was not seen")
			}
			id, err := l.NextDevice(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.AdoptDevice(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			after := local(t, config(state))
			if i, _ := after.Info(t.Context()); i.PeerID != id || len(i.Damaged) > 0 {
				t.Errorf("%+v, want %v", i, id)
			}
		})
	}
}

func TestErasedMeansOverwritten(t *testing.T) {
	state := used(t)
	path := filepath.Join(state, "secrets", "root-pending")
	// A second name keeps the file's cells in sight.
	other := filepath.Join(state, "watch")
	if err := os.Link(path, other); err != nil {
		t.Fatal(err)
	}
	if err := local(t, config(state)).EraseRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(other); err != nil || len(b) != 44 || len(bytes.Trim(b, "\x00")) != 0 {
		t.Errorf("what is left of it: %x, %v", b, err)
	}
}
