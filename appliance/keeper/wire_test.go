package keeper_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/appliance/keeper"
)

// wire is a child that writes its own bytes.
type wire struct {
	t    testing.TB
	conn *net.UnixConn
}

func rawChild(t testing.TB, k keeper.Keeper) *wire {
	t.Helper()
	ours, theirs, err := keeper.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- keeper.Serve(context.Background(), ours, k, slog.New(slog.DiscardHandler)) }()
	c, err := net.FileConn(theirs)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, conn: c.(*net.UnixConn)}
	t.Cleanup(func() {
		w.conn.Close()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve does not end when the child is gone")
		}
	})
	return w
}

func frame(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...)
}

type rawAnswer struct {
	ID      uint64
	Out     json.RawMessage
	Problem *struct{ Code, Key, Text, Cause string }
}

// say writes one message and returns the answer to it.
func (w *wire) say(b []byte) rawAnswer {
	w.t.Helper()
	w.conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, _, err := w.conn.WriteMsgUnix(b, nil, nil); err != nil {
		w.t.Fatal(err)
	}
	return w.hear()
}

func (w *wire) hear() rawAnswer {
	w.t.Helper()
	buf := make([]byte, 70<<10)
	n, err := w.conn.Read(buf)
	if err != nil {
		w.t.Fatal(err)
	}
	var a rawAnswer
	if n < 4 || int(binary.BigEndian.Uint32(buf)) != n-4 || json.Unmarshal(buf[4:n], &a) != nil {
		w.t.Fatalf("answer %q", buf[:n])
	}
	return a
}

// files lists a folder with the bytes of each file, to show that nothing changed.
func files(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %v", path, info.Mode())
		if !d.IsDir() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %x", content)
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestMalformedQuestionsChangeNothing(t *testing.T) {
	state := t.TempDir()
	w := rawChild(t, local(t, config(state)))
	before := files(t, state)
	for name, c := range map[string]struct {
		bytes []byte
		id    uint64
	}{
		"empty length":        {frame(""), 0},
		"short":               {[]byte{0, 0}, 0},
		"length too small":    {append([]byte{0, 0, 0, 1}, `{"id":1,"call":"make-root","in":{}}`...), 0},
		"length too large":    {append([]byte{0, 1, 0, 0}, `{"id":1,"call":"make-root","in":{}}`...), 0},
		"length of 4 GiB":     {append([]byte{255, 255, 255, 255}, `{}`...), 0},
		"no JSON":             {frame("make-root"), 0},
		"no id":               {frame(`{"call":"make-root","in":{}}`), 0},
		"negative id":         {frame(`{"id":-1,"call":"make-root","in":{}}`), 0},
		"unknown call":        {frame(`{"id":1,"call":"give-me-the-root","in":{}}`), 1},
		"unknown outer field": {frame(`{"id":2,"call":"make-root","in":{},"as":"root"}`), 2},
		"unknown field":       {frame(`{"id":3,"call":"make-root","in":{"force":true}}`), 3},
		"no input":            {frame(`{"id":4,"call":"make-root"}`), 4},
		"input of another":    {frame(`{"id":5,"call":"sign-record","in":{"Message":5}}`), 5},
		"two objects":         {frame(`{"id":6,"call":"make-root","in":{}}{"id":7,"call":"make-root","in":{}}`), 6},
		"deep":                {frame(`{"id":8,"call":"make-root","in":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), 0},
		"an array":            {frame(`[1,2,3]`), 0},
		"no PeerID":           {frame(`{"id":9,"call":"adopt-device","in":{"ID":"hearth"}}`), 9},
		"bad address":         {frame(`{"id":9,"call":"listen","in":{"Network":"tcp","Address":"home:80","Shared":false}}`), 9},
		"too long":            {frame(`{"id":10,"call":"sign-record","in":{"Message":"` + strings.Repeat("A", 66<<10) + `"}}`), 0},
	} {
		a := w.say(c.bytes)
		if a.Problem == nil || a.Problem.Code != "keeper-invalid" || a.Problem.Text == "" || (c.id != 0 && a.ID != c.id) {
			t.Errorf("%s: %+v (%+v); want the problem keeper-invalid with id %d", name, a, a.Problem, c.id)
		}
	}
	if after := files(t, state); after != before {
		t.Errorf("something was written:\n%s\nbefore:\n%s", after, before)
	}
	if a := w.say(frame(`{"id":11,"call":"info","in":{}}`)); a.Problem != nil || a.ID != 11 {
		t.Errorf("a good question afterwards: %+v", a)
	}
}

func TestDescriptorsFromAChildAreClosed(t *testing.T) {
	w := rawChild(t, local(t, config(t.TempDir())))
	count := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := count()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for i := range 50 {
		fd := int(null.Fd())
		w.conn.SetDeadline(time.Now().Add(10 * time.Second))
		b := frame(fmt.Sprintf(`{"id":%d,"call":"info","in":{}}`, i+1))
		if _, _, err := w.conn.WriteMsgUnix(b, unix.UnixRights(fd, fd, fd), nil); err != nil {
			t.Fatal(err)
		}
		if a := w.hear(); a.Problem != nil {
			t.Fatalf("%+v", a.Problem)
		}
	}
	if after := count(); after > before+5 {
		t.Errorf("%d descriptors are open, before %d", after, before)
	}
}

// slow is a keeper whose Machine waits.
type slow struct {
	keeper.Keeper
	inside, most atomic.Int32
	release      chan struct{}
}

func (s *slow) Machine(context.Context) (keeper.Machine, error) {
	n := s.inside.Add(1)
	for {
		m := s.most.Load()
		if n <= m || s.most.CompareAndSwap(m, n) {
			break
		}
	}
	<-s.release
	s.inside.Add(-1)
	return keeper.Machine{}, nil
}

func TestBoundedInFlight(t *testing.T) {
	s := &slow{Keeper: local(t, config(t.TempDir())), release: make(chan struct{})}
	w := rawChild(t, s)
	const questions = 60
	go func() {
		for i := range questions {
			w.conn.WriteMsgUnix(frame(fmt.Sprintf(`{"id":%d,"call":"machine","in":{}}`, i+1)), nil, nil)
		}
	}()
	deadline := time.Now().Add(10 * time.Second)
	for s.inside.Load() < 16 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	close(s.release)
	w.conn.SetDeadline(time.Now().Add(10 * time.Second))
	for range questions {
		w.hear()
	}
	if m := s.most.Load(); m != 16 {
		t.Errorf("%d were worked on at once, want 16", m)
	}
}

func TestClientWhenTheKeeperGoes(t *testing.T) {
	s := &slow{Keeper: local(t, config(t.TempDir())), release: make(chan struct{})}
	ours, theirs, err := keeper.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- keeper.Serve(ctx, ours, s, slog.New(slog.DiscardHandler)) }()
	c, err := keeper.Dial(t.Context(), theirs)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 40 { // some wait for an answer, some for a slot
		wg.Go(func() {
			if _, err := c.Machine(t.Context()); !errors.Is(err, keeper.ErrGone) {
				t.Errorf("%v, want ErrGone", err)
			}
		})
	}
	for s.inside.Load() < 16 {
		time.Sleep(time.Millisecond)
	}
	stop()
	wg.Wait()
	select {
	case <-c.Gone():
	case <-time.After(10 * time.Second):
		t.Error("the client does not notice")
	}
	close(s.release)
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := c.Listen(t.Context(), keeper.ListenSpec{Network: keeper.TCP, Address: netip.MustParseAddrPort("127.0.0.1:80")}); !errors.Is(err, keeper.ErrGone) {
		t.Errorf("afterwards: %v", err)
	}
}

// harmless answers every call without doing anything to the machine; the fuzzer may call it as it likes.
func harmless(t testing.TB) keeper.Keeper {
	return &noMachine{local(t, config(t.TempDir()))}
}

type noMachine struct{ keeper.Keeper }

func (noMachine) OpenTUN(context.Context, keeper.TUNSpec) (*keeper.TUN, error) {
	return nil, keeper.ErrNoTUN
}

func (noMachine) Listen(context.Context, keeper.ListenSpec) (*os.File, error) {
	return os.Open(os.DevNull)
}

// FuzzServe sends one message of a child's own making. The keeper answers each with one message, and a good question
// afterwards with its answer.
func FuzzServe(f *testing.F) {
	for _, s := range []string{
		`{"id":1,"call":"info","in":{}}`, `{"id":1,"call":"listen","in":{"Network":"tcp","Address":"127.0.0.1:80","Shared":true}}`,
		`{"id":1,"call":"open-tun","in":{"Name":"hearth0","MTU":1280,"Addresses":["10.0.0.1/24"]}}`,
		`{"id":1,"call":"apply-firewall","in":{"Device":true,"TUN":"","LAN":["eth0"],"Anywhere":[{"Proto":"udp","Port":51820}]}}`,
		`{"id":1,"call":"set-hostname","in":{"Name":"box"}}`, `{"id":1,"call":"sign-record","in":{"Message":"aGVhcnRo"}}`,
		`{"id":1,"call":"sign-handshake","in":{"Message":"ICAg"}}`, `{"id":1,"call":"next-device","in":{}}`,
		`{"id":1,"call":"adopt-device","in":{"ID":"` + strings.Repeat("a", 52) + `"}}`,
		`{"id":1,"call":"client-key","in":{}}`, `{"id":1,"call":"make-root","in":{}}`, `{"id":1,"call":"root-words","in":{}}`,
		`{"id":1,"call":"sign-with-root","in":{"Message":""}}`, `{"id":1,"call":"erase-root","in":{}}`,
		`{"id":1,"call":"next-roots","in":{}}`, `{"id":1,"call":"keep-next-roots","in":{"Entropies":["` + strings.Repeat("A", 43) + `="]}}`,
		`{"id":1,"call":"make-ca","in":{"Name":"S","Domain":"s.home.arpa","Label":"h","Net4":"10.0.0.0/24","Net6":"fd00::/48","LAN":null,"Now":"2026-11-21T00:00:00Z"}}`,
		`{"id":1,"call":"ca-certificates","in":{}}`, `{"id":1,"call":"sign-certificate","in":{"Message":""}}`, `{"id":1,"call":"claim-secret","in":{}}`,
		`{"id":1,"call":"forget-claim-secret","in":{}}`, `{"id":1,"call":"power","in":{"How":"off"}}`, `{"id":1,"call":"machine","in":{}}`,
	} {
		f.Add(frame(s))
	}
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, '{'})
	w := rawChild(f, harmless(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 || len(b) > 100<<10 {
			return // an empty message is the end of the stream
		}
		w.t = t
		a := w.say(b)
		if a.Problem != nil && (a.Problem.Code == "" || a.Problem.Text == "") {
			t.Errorf("a problem without words: %+v", a)
		}
		if a.Problem == nil && len(a.Out) == 0 {
			t.Errorf("neither answer nor problem: %+v", a)
		}
		if a := w.say(frame(`{"id":77,"call":"info","in":{}}`)); a.Problem != nil || a.ID != 77 {
			t.Errorf("a good question afterwards: %+v", a)
		}
	})
}
