package logfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hearth.alt/services/identity/internal/logfile"
)

// entry is n bytes that are never zero, as different from entry to entry as signed records are.
func entry(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + r.IntN(255))
	}
	return b
}

// filled returns the path of a log of three frames: one entry, three, one of 1,500 bytes; and its entries.
func filled(t testing.TB) (string, [][]byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	l, _ := logfile.Open(nil, path)
	entries := [][]byte{entry(1, 200), entry(2, 90), entry(3, 1), entry(4, 300), entry(5, 1500)}
	for _, batch := range [][][]byte{entries[:1], entries[1:4], entries[4:]} {
		if err := l.Append(batch...); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path, entries
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

func TestEntriesComeBack(t *testing.T) {
	path, want := filled(t)
	l, c := logfile.Open(nil, path)
	if !same(c.Entries, want) || c.Torn != 0 || c.Damage != nil {
		t.Fatalf("read %d entries, torn %d, damage %v", len(c.Entries), c.Torn, c.Damage)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range c.Entries {
		if !bytes.HasPrefix(file[c.Offsets[i]:], e) {
			t.Errorf("entry %d is not at its offset %d", i, c.Offsets[i])
		}
	}
	if err := l.Append(entry(6, 10)); err != nil {
		t.Fatal(err)
	}
	if _, c = logfile.Open(nil, path); !same(c.Entries, append(want, entry(6, 10))) {
		t.Errorf("after an append to a log that was read: %d entries", len(c.Entries))
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, want 0600", st.Mode().Perm())
	}
}

func TestMissingFileIsEmpty(t *testing.T) {
	l, c := logfile.Open(nil, filepath.Join(t.TempDir(), "log"))
	if c.Damage != nil || c.Torn != 0 || len(c.Entries) != 0 || c.Size != 0 {
		t.Errorf("content is %+v", c)
	}
	if err := l.Cut(); err != nil {
		t.Error(err)
	}
}

// Wherever the plug is pulled during the last append, the frames before it are whole, the tail is recognised, and
// the log goes on.
func TestTornTail(t *testing.T) {
	path, entries := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	last := int(logfile.Decode(whole[:len(whole)-1]).Size)
	tails := map[string][]byte{}
	for n := last + 1; n < len(whole); n++ {
		tails[fmt.Sprintf("cut short at %d", n)] = whole[:n]
	}
	// Length without content: every way in which some of the sectors never reached the disk.
	var sectors [][2]int
	for at := last; at < len(whole); {
		end := min(len(whole), (at/512+1)*512)
		sectors = append(sectors, [2]int{at, end})
		at = end
	}
	for lost := 1; lost < 1<<len(sectors); lost++ {
		b := bytes.Clone(whole)
		for i, s := range sectors {
			if lost>>i&1 == 1 {
				clear(b[s[0]:s[1]])
			}
		}
		tails[fmt.Sprintf("lost sectors %b", lost)] = b
	}
	names := slices.Sorted(maps.Keys(tails))
	for i, name := range names {
		b := tails[name]
		if c := logfile.Decode(b); c.Damage != nil || c.Torn != int64(len(b)-last) || !same(c.Entries, entries[:4]) {
			t.Errorf("%s: torn %d, damage %v, %d entries", name, c.Torn, c.Damage, len(c.Entries))
		}
		if i%40 != 0 { // going on takes two syncs
			continue
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, c := logfile.Open(nil, path)
		if err := l.Append(entry(9, 30)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		l.Close()
		if _, c = logfile.Open(nil, path); c.Torn != 0 || c.Damage != nil || !same(c.Entries, append(slices.Clone(entries[:4]), entry(9, 30))) {
			t.Errorf("%s: after the next append: torn %d, damage %v, %d entries", name, c.Torn, c.Damage, len(c.Entries))
		}
	}
	t.Logf("%d tails", len(tails))
}

// A changed bit anywhere is named as damage and loses no frame before it; the frames behind it are reported.
func TestDamageIsNamed(t *testing.T) {
	path, entries := filled(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := bytes.Clone(whole)
		b[i] ^= 0x40
		c := logfile.Decode(b)
		if c.Damage == nil || c.Torn != 0 {
			t.Fatalf("byte %d of %d: torn %d, damage %v", i, len(whole), c.Torn, c.Damage)
		}
		if n := len(c.Entries); !same(c.Entries, entries[:n]) {
			t.Errorf("byte %d: the entries before the damage differ", i)
		}
		if n := len(c.After); !same(c.After, entries[len(entries)-n:]) {
			t.Errorf("byte %d: the entries behind the damage differ", i)
		}
		lost := len(entries) - len(c.Entries) - len(c.After)
		if i >= 8 && lost != 1 && lost != 3 || i < 8 && lost != 0 {
			t.Errorf("byte %d: %d entries are gone", i, lost)
		}
	}
	whole[300] ^= 1
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l, _ := logfile.Open(nil, path)
	if err := l.Append(entry(6, 10)); !errors.Is(err, logfile.ErrDamaged) {
		t.Errorf("appending to a damaged log: %v", err)
	}
	if err := l.Cut(); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); !bytes.Equal(b, whole) {
		t.Error("the damaged file was changed")
	}
}

func TestEmptyFileIsDamage(t *testing.T) {
	if c := logfile.Decode(nil); c.Damage == nil {
		t.Error("a file without a header counts as a first boot")
	}
}

func TestBounds(t *testing.T) {
	path, entries := filled(t)
	l, _ := logfile.Open(nil, path)
	for name, batch := range map[string][][]byte{
		"nothing":     nil,
		"empty entry": {{}},
		"long entry":  {make([]byte, logfile.MaxEntry+1)},
		"long batch":  slices.Repeat([][]byte{make([]byte, logfile.MaxEntry)}, 17),
	} {
		if err := l.Append(batch...); !errors.Is(err, logfile.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, c := logfile.Open(nil, path); !same(c.Entries, entries) {
		t.Error("a refused batch left something")
	}
	if err := os.Truncate(path, logfile.MaxSize+1); err != nil {
		t.Fatal(err)
	}
	if _, c := logfile.Open(nil, path); c.Damage == nil {
		t.Error("a file beyond the greatest size was read")
	}
}

func TestFailedWriteIsCutOff(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full; run on Linux: go test ./services/identity/internal/logfile")
	}
	path, entries := filled(t)
	l, _ := logfile.Open(nil, path)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The first write finds a full disk in the log's place, the next one the log with what a failed write left.
	os.Rename(path, path+".away")
	os.Symlink("/dev/full", path)
	if err := l.Append(entry(6, 10)); err == nil {
		t.Fatal("a full disk was not noticed")
	}
	l.Close()
	os.Remove(path)
	if err := os.WriteFile(path, append(good, entry(7, 20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(entry(8, 10)); err != nil {
		t.Fatal(err)
	}
	if _, c := logfile.Open(nil, path); !same(c.Entries, append(entries, entry(8, 10))) || c.Damage != nil || c.Torn != 0 {
		t.Errorf("%d entries, damage %v", len(c.Entries), c.Damage)
	}
}

func TestReplace(t *testing.T) {
	path, _ := filled(t)
	l, _ := logfile.Open(nil, path)
	want := [][]byte{entry(7, 70), entry(8, 80)}
	file, err := logfile.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Replace(file[:len(file)-1]); !errors.Is(err, logfile.ErrDamaged) {
		t.Errorf("a torn log was taken: %v", err)
	}
	if err := l.Replace(file); err != nil {
		t.Fatal(err)
	}
	if err := l.Append(entry(9, 90)); err != nil {
		t.Fatal(err)
	}
	if _, c := logfile.Open(nil, path); !same(c.Entries, append(want, entry(9, 90))) {
		t.Errorf("%d entries", len(c.Entries))
	}
}

func FuzzDecode(f *testing.F) {
	path, _ := filled(f)
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-7])
	f.Add([]byte("HEARTHL\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := logfile.Decode(b)
		if c.Damage != nil && c.Torn != 0 || c.Size+c.Torn > int64(len(b)) || c.Damage == nil && c.Size+c.Torn != int64(len(b)) {
			t.Fatalf("%d bytes: size %d, torn %d, damage %v", len(b), c.Size, c.Torn, c.Damage)
		}
		if c.Size == 0 {
			return
		}
		again := logfile.Decode(b[:c.Size])
		if again.Damage != nil || again.Torn != 0 || !same(again.Entries, c.Entries) {
			t.Fatal("the good part alone reads differently")
		}
	})
}
