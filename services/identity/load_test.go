package identity

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth.alt/services"
	"hearth.alt/services/identity/internal/logfile"
	"hearth.alt/services/identity/internal/record"
)

// file writes the dag's records as a log, one frame each, and returns its path.
func (d *dag) file() string {
	d.t.Helper()
	var batches [][][]byte
	for _, r := range d.records {
		batches = append(batches, [][]byte{r.Bytes()})
	}
	b, err := logfile.Encode(batches...)
	if err != nil {
		d.t.Fatal(err)
	}
	path := filepath.Join(d.t.TempDir(), "log")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// spoil changes one byte of the record r in the log at path.
func spoil(t *testing.T, path string, r *record.Record) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[bytes.Index(b, r.Bytes())+50] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func annAndBen(t testing.TB) *dag {
	d := newDAG(t, 1)
	d.add(d.boxes[0], person(ann, services.RoleOwner), d.last())
	d.add(d.boxes[0], person(ben, services.RoleAdmin), d.last())
	return d
}

func TestLoadFoldsAll(t *testing.T) {
	d := annAndBen(t)
	l := load(nil, d.self(), d.file())
	if l.fault.any() || l.torn != 0 {
		t.Fatalf("fault %+v, torn %d", l.fault, l.torn)
	}
	if diff := diffMemberships(d.fold(), l.state.membership()); diff != "" {
		t.Error(diff)
	}
}

// Damage in the middle: those before it are known, those a good record behind it removes are not, and those a good
// record behind it adds neither, because what they stand on is gone.
func TestLoadBeforeDamage(t *testing.T) {
	d := annAndBen(t)
	bad := d.add(d.boxes[0], device("aphoneaphoneapho", ann, 3), d.last())
	d.add(d.boxes[0], person(cat, services.RoleOwner), d.last())
	d.add(d.boxes[0], record.RemovePerson{Person: ben}, d.last())
	d.add(d.boxes[0], record.RemovePerson{Person: ann}, d.last())
	path := d.file()
	spoil(t, path, bad)
	l := load(nil, d.self(), path)
	if l.fault.damage == nil || l.fault.newer {
		t.Fatalf("fault %+v", l.fault)
	}
	if got := strings.Join(names(l.state.membership()), ", "); got != "ann owner" {
		t.Errorf("household is %s; want Ann alone: the last owner stays, Ben was removed, Cat was never known", got)
	}
}

func TestLoadNamesForgery(t *testing.T) {
	thief := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{66}, 32))
	for name, forge := range map[string]func(d *dag) []byte{
		"a record of a stranger behind the damage": func(d *dag) []byte {
			strange := record.Box(services.PeerID(thief.Public().(ed25519.PublicKey)))
			d.keys[strange] = thief
			return d.add(strange, record.RemovePerson{Person: ben}, d.records[0]).Bytes()
		},
		"a signature that is not the author's": func(d *dag) []byte {
			b := bytes.Clone(d.add(d.boxes[0], record.RemovePerson{Person: ben}, d.last()).Bytes())
			b[len(b)-1] ^= 1
			return b
		},
		"no record at all": func(*dag) []byte { return []byte("\x01not a record") },
		"a parent that is not there": func(d *dag) []byte {
			r := d.add(d.boxes[0], record.SetLAN{Person: ann}, d.last())
			next := d.add(d.boxes[0], record.SetLAN{Person: ann}, r)
			d.records = d.records[:len(d.records)-2]
			return next.Bytes()
		},
		"a second genesis": func(d *dag) []byte { return d.records[0].Bytes() },
	} {
		t.Run(name, func(t *testing.T) {
			d := annAndBen(t)
			want := names(d.fold())
			before := len(d.records)
			bad := forge(d)
			d.records = d.records[:before]
			path := d.file()
			log, _ := logfile.Open(nil, path)
			if name == "a record of a stranger behind the damage" {
				if err := log.Append([]byte("\x01damage")); err != nil {
					t.Fatal(err)
				}
			}
			if err := log.Append(bad); err != nil {
				t.Fatal(err)
			}
			log.Close()
			l := load(nil, d.self(), path)
			if l.fault.damage == nil || l.fault.damage.Offset == 0 {
				t.Fatalf("fault %+v", l.fault)
			}
			if got := names(l.state.membership()); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("household is %v, want %v", got, want)
			}
			if got := l.state.taken; got != uint64(before) {
				t.Errorf("%d records were taken, want %d", got, before)
			}
		})
	}
}

func TestLoadNewerVersion(t *testing.T) {
	d := annAndBen(t)
	path := d.file()
	log, _ := logfile.Open(nil, path)
	if err := log.Append([]byte{2, 1, 1, 1}); err != nil {
		t.Fatal(err)
	}
	log.Close()
	l := load(nil, d.self(), path)
	if !l.fault.newer || l.fault.damage != nil || len(l.state.people) != 2 {
		t.Errorf("fault %+v", l.fault)
	}
}

func TestLoadWithoutAHousehold(t *testing.T) {
	for name, write := range map[string]func(path string) error{
		"empty file":  func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"header only": func(p string) error { return os.WriteFile(p, []byte("HEARTHL\x01"), 0o600) },
		"other file":  func(p string) error { return os.WriteFile(p, []byte("something else entirely"), 0o600) },
		"folder":      func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := write(path); err != nil {
			t.Fatal(err)
		}
		if l := load(nil, services.PeerID{1}, path); l.state != nil || l.fault.damage == nil {
			t.Errorf("%s: state %v, fault %+v", name, l.state, l.fault)
		}
	}
}

// Issue 3 wants 10,000 records open in less than 300 ms on two cores.
func BenchmarkLoad10000(b *testing.B) {
	d := annAndBen(b)
	box := d.boxes[0]
	var devices []services.DeviceID
	host := func(i int) uint8 { return uint8(2 + i%200) }
	for i := 0; len(d.records) < 10_000; i++ {
		switch {
		case i%50 == 0:
			d.add(box, record.AddPerson{Person: NewPersonID(), Name: fmt.Sprint("Person ", i), Role: services.RoleMember}, d.last())
		case i%3 == 0 && len(devices) > 150:
			d.add(box, record.RemoveDevice{Device: devices[0]}, d.last())
			devices = devices[1:]
		case i%3 == 1:
			dev := device(NewDeviceID(), ann, host(i))
			dev.Key[2], dev.Key[3] = byte(i), byte(i>>8)
			d.add(box, dev, d.last())
			devices = append(devices, dev.Device)
		default:
			d.addFor(ann, "", box, record.RenamePerson{Person: ben, Name: fmt.Sprint("Ben ", i)}, d.last())
		}
	}
	path := d.file()
	for b.Loop() {
		if l := load(nil, d.self(), path); l.fault.any() || l.state.taken != 10_000 {
			b.Fatalf("%+v, %d records", l.fault, l.state.taken)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(b.N), "open-ms")
}

func BenchmarkFold10000(b *testing.B) {
	d := annAndBen(b)
	for i := range 10_000 {
		d.addFor(ann, "", d.boxes[0], record.RenamePerson{Person: ben, Name: fmt.Sprint("Ben ", i)}, d.last())
	}
	for b.Loop() {
		if _, err := fold(d.self(), d.records[0].ID(), d.records); err != nil {
			b.Fatal(err)
		}
	}
}
