// Package vm is the part of the laboratory that plays whole machines: QEMU, in software, with the real image, the real
// firmware where there is one, a serial log, ports of the box on 127.0.0.1, and a plug that can be pulled.
//
//	img := vm.Image(t, "arm64", vm.Probe)           // built if it is not up to date
//	m := vm.New(t, vm.Options{Image: img, Disk: 8 << 30})
//	m.Start()
//	m.WaitPage(time.Minute)                          // http on port 80
//	m.Cut()                                          // the plug: SIGKILL, nothing is flushed
//	m.Start()                                        // the same disk again
//
// One machine runs at a time on this computer, whoever started it (a lock file): two cores carry no more, and a
// starved guest fails for reasons that are not ours. Every wait has a deadline and ends early when the kernel
// panics. When a test fails its serial log and disk stay in out/vm/<test>.
//
// Pulling the plug this way loses what the guest had not written yet. It does not model a drive's own cache or torn
// sectors.
package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/boards"
	"hearth.alt/boards/disk"
	"hearth.alt/image"
)

// Programs that images can hold.
const (
	Hearth = image.DefaultProgram
	Probe  = "hearth.alt/hwtest/vm/probe" // shows and takes files; process 1 is Hearth's
	Hello  = "hearth.alt/hwtest/vm/hello" // a page and nothing else; process 1 is plain gokrazy
)

// Built is an image that was built.
type Built struct {
	Board  *boards.Board
	Path   string
	Module string // folder of the source tree
	Result *image.Result
}

// Image builds the image of a board with a program and returns it. Warm, that takes a second or two; an image in
// HEARTH_IMAGE_<BOARD> (a path) is taken as it is when program is Hearth. Tags are build tags.
func Image(t T, board, program string, tags ...string) *Built {
	t.Helper()
	b, err := boards.Find(board)
	if err != nil {
		t.Fatal(err)
	}
	module, err := image.FindModule(".")
	if err != nil {
		t.Fatal(err)
	}
	if p := os.Getenv("HEARTH_IMAGE_" + strings.ToUpper(board)); p != "" && program == Hearth && len(tags) == 0 {
		return &Built{Board: b, Path: p, Module: module}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	var log bytes.Buffer
	name := filepath.Base(program) + strings.Join(append([]string{""}, tags...), "-") + "-" + board
	o := image.Options{Board: b, Module: module, Program: program, Tags: tags,
		Out: filepath.Join(module, "out", "lab"), Name: name, Log: &log}
	if program == Hello {
		o.Init = Hello + "/init"
	}
	r, err := image.Build(ctx, o)
	if err != nil {
		t.Fatalf("building the image: %v\n%s", err, log.String())
	}
	t.Logf("image %s:\n%s", name, log.String())
	return &Built{Board: b, Path: r.Image, Module: module, Result: r}
}

// T is what a machine needs of a test; *testing.T and *testing.B are one.
type T interface {
	Helper()
	Name() string
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// Options describe a machine.
type Options struct {
	Image *Built
	Disk  int64  // bytes of the machine's disk; 0 is the image's own length
	Card  string // a disk to copy in place of the image, such as another machine's DiskPath
	// Direct starts the kernel of slot a without firmware, which is quicker. The Pi is always started so, because
	// nothing plays its firmware.
	Direct bool
	// Append is added to the kernel's command line. "hearth.console=1" shows the program's log on the serial console.
	Append string
	// Net replaces the network: arguments of QEMU that define the netdev n0. nil is QEMU's own, with the box's ports
	// forwarded from 127.0.0.1.
	Net []string
	// Wrap is put before QEMU's command, such as ip netns exec NAME.
	Wrap    []string
	PanicOK bool // a kernel panic does not end waits
}

// Machine is one virtual machine. It is for use by one test.
type Machine struct {
	t       T
	o       Options
	dir     string
	ports   map[string]int // "tcp80"
	cmd     *exec.Cmd
	exited  chan struct{}
	unlock  func()
	boots   int
	Retries int       // starts that printed nothing and were repeated
	Began   time.Time // when QEMU was last launched
	Host    string    // what requests name the box, "hearth.local"; it answers to its own names and addresses only
}

// New makes a machine with a fresh copy of the image, switched off. It skips the test where QEMU is missing.
func New(t T, o Options) *Machine {
	t.Helper()
	q := o.Image.Board.QEMU
	if q == nil {
		t.Fatalf("nothing plays the board %s", o.Image.Board.Name)
	}
	if _, err := exec.LookPath(q.Program); err != nil {
		t.Skipf("%s is not installed: apt-get install qemu-system-arm qemu-system-x86 qemu-efi-aarch64 ovmf", q.Program)
	}
	for _, f := range []string{q.Firmware, q.Variables} {
		if _, err := os.Stat(f); f != "" && err != nil {
			t.Skipf("%s is missing: apt-get install qemu-efi-aarch64 ovmf", f)
		}
	}
	name := strings.NewReplacer("/", "_", " ", "_").Replace(t.Name())
	m := &Machine{t: t, o: o, ports: map[string]int{}, Host: "hearth.local"}
	m.dir = ownDir(t, filepath.Join(o.Image.Module, "out", "vm", name))
	t.Cleanup(func() {
		m.Cut()
		if t.Failed() {
			t.Logf("kept: %s\nserial console, end:\n%s", m.dir, m.Tail(3000))
			return
		}
		os.RemoveAll(m.dir) //nolint:errcheck // the next run removes it
	})
	from := o.Image.Path
	if o.Card != "" {
		from = o.Card
	}
	if err := copySparse(m.DiskPath(), from); err != nil {
		t.Fatal(err)
	}
	if o.Disk > 0 {
		m.Enlarge(o.Disk)
	}
	if q.Variables != "" {
		m.ForgetVariables()
	}
	for _, p := range []string{"tcp80", "tcp443", "udp51820"} {
		m.ports[p] = freePort(t, p[:3])
	}
	return m
}

// ownDir makes an empty folder at path, or beside it when another machine of this process has that one. What an
// earlier run kept is removed.
func ownDir(t T, path string) string {
	t.Helper()
	self := []byte(strconv.Itoa(os.Getpid()))
	for n := 1; ; n++ {
		dir := path
		if n > 1 {
			dir += "-" + strconv.Itoa(n)
		}
		owner := filepath.Join(dir, "pid")
		if b, err := os.ReadFile(owner); err == nil && bytes.Equal(b, self) {
			continue
		}
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755), os.WriteFile(owner, self, 0o644)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
}

// DiskPath is the file that is the machine's disk. Touch it only while the machine is off.
func (m *Machine) DiskPath() string { return filepath.Join(m.dir, "disk.img") }

// Enlarge makes the disk n bytes long, as if the card had been copied onto a larger one.
func (m *Machine) Enlarge(n int64) {
	m.t.Helper()
	st, err := os.Stat(m.DiskPath())
	if err != nil {
		m.t.Fatal(err)
	}
	if n < st.Size() {
		m.t.Fatalf("the disk has %d bytes already, more than %d", st.Size(), n)
	}
	if err := os.Truncate(m.DiskPath(), n); err != nil {
		m.t.Fatal(err)
	}
}

// ForgetVariables gives the firmware empty variables, as an empty battery does.
func (m *Machine) ForgetVariables() {
	m.t.Helper()
	if err := copySparse(filepath.Join(m.dir, "vars.fd"), m.o.Image.Board.QEMU.Variables); err != nil {
		m.t.Fatal(err)
	}
}

// Addr is where a port of the box is reached from here: Addr("tcp", 80), ("tcp", 443), ("udp", 51820).
func (m *Machine) Addr(network string, port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(m.ports[network+strconv.Itoa(port)]))
}

// SetAppend changes what is added to the kernel's command line from the next Start on.
func (m *Machine) SetAppend(words string) { m.o.Append = words }

// SetDirect chooses between firmware and direct start from the next Start on. It has no effect on the Pi.
func (m *Machine) SetDirect(direct bool) { m.o.Direct = direct }

// firstOutput is how long a start may take to get beyond its firmware. QEMU's raspi3b sometimes never prints anything
// (facts/gokrazy2.md 7), and one in about ninety UEFI starts.
const firstOutput = 60 * time.Second

// Start switches the machine on and returns when its serial console shows that it got beyond the firmware. A start that does
// not is repeated, once, and counted in Retries.
func (m *Machine) Start() {
	m.t.Helper()
	if m.cmd != nil {
		m.t.Fatal("the machine runs already")
	}
	m.takeTurn()
	for try := 0; ; try++ {
		m.launch()
		deadline := time.Now().Add(firstOutput)
		for time.Now().Before(deadline) && m.running() && !m.spoke() {
			time.Sleep(50 * time.Millisecond)
		}
		if m.spoke() {
			return
		}
		if !m.running() || try == 1 {
			out, _ := os.ReadFile(filepath.Join(m.dir, "qemu.log"))
			m.t.Fatalf("the machine did not get beyond its firmware in %s; QEMU said: %s", firstOutput, out)
		}
		m.Retries++
		m.t.Logf("start %d did not get beyond its firmware, once more", m.boots)
		m.kill()
	}
}

// spoke says whether the start got beyond its firmware. UEFI in QEMU now and then stops after its own banner, which is no
// fault of what it was to start.
func (m *Machine) spoke() bool {
	said := m.Serial()
	if m.o.Direct || m.o.Image.Board.QEMU.Firmware == "" {
		return said != ""
	}
	return strings.Contains(said, "BdsDxe: starting") || strings.Contains(said, "hearth:") || strings.Contains(said, "[    0.")
}

func (m *Machine) launch() {
	m.t.Helper()
	m.boots++
	m.Began = time.Now()
	command := m.command("-serial", "file:"+m.serialPath(), "-display", "none",
		"-monitor", "unix:"+m.monitorPath()+",server=on,wait=off")
	m.cmd = exec.Command(command[0], command[1:]...)
	log, err := os.Create(filepath.Join(m.dir, "qemu.log"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	fmt.Fprintln(log, strings.Join(m.cmd.Args, " "))
	m.cmd.Stdout, m.cmd.Stderr = log, log
	// The signal comes when the thread that started QEMU ends, which need not be the end of this process: netlab ends the
	// threads it takes into a namespace. So one thread starts it and stays until it has ended.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, exited := make(chan error), make(chan struct{})
	go func(c *exec.Cmd) {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.Start()
		started <- err
		if err == nil {
			c.Wait() //nolint:errcheck // killed, or the log says why
		}
		close(exited)
	}(m.cmd)
	if err := <-started; err != nil {
		m.cmd = nil
		m.t.Fatal(err)
	}
	m.exited = exited
}

// command is QEMU's command line; console says where serial console and monitor go.
func (m *Machine) command(console ...string) []string {
	m.t.Helper()
	q := m.o.Image.Board.QEMU
	args := slices.Clone(q.Args)
	for _, a := range q.Disk {
		args = append(args, strings.ReplaceAll(a, "{image}", m.DiskPath()))
	}
	if m.o.Direct || q.Firmware == "" {
		args = append(args, m.direct()...)
	} else {
		m.writeEntries()
		args = append(args,
			"-drive", "if=pflash,format=raw,readonly=on,file="+q.Firmware,
			"-drive", "if=pflash,format=raw,file="+filepath.Join(m.dir, "vars.fd"))
	}
	if m.o.Net != nil {
		args = append(args, m.o.Net...)
	} else {
		fwd := func(proto string, port int) string {
			return fmt.Sprintf(",hostfwd=%s:%s-:%d", proto, m.Addr(proto, port), port)
		}
		args = append(args, "-netdev", "user,id=n0"+fwd("tcp", 80)+fwd("tcp", 443)+fwd("udp", 51820))
	}
	args = append(args, "-device", q.NIC+",netdev=n0", "-no-user-config")
	return append(append(append(slices.Clone(m.o.Wrap), q.Program), args...), console...)
}

func (m *Machine) serialPath() string {
	return filepath.Join(m.dir, fmt.Sprintf("serial-%02d.log", m.boots))
}

// monitorPath is short, because a socket's name must fit into 107 bytes.
func (m *Machine) monitorPath() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("hearth-vm-%d-%d.sock", os.Getpid(), m.boots))
}

// direct returns the arguments that start slot a's kernel as the firmware would, with the files and the command line
// that lie in the image.
func (m *Machine) direct() []string {
	m.t.Helper()
	b := m.o.Image.Board
	f, err := os.Open(m.DiskPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	part, kernel := b.Table.Part(boards.BootNumber), "a/"+boards.KernelFile
	if b.Method == boards.Pi {
		part, kernel = b.Table.Part(boards.SlotA.Number()), boards.KernelFile
	}
	fat, err := disk.OpenFAT(f, part.Offset, part.Size)
	if err != nil {
		m.t.Fatal(err)
	}
	take := func(name string) string {
		r, err := fat.Open(name)
		if err != nil {
			m.t.Fatal(err)
		}
		path := filepath.Join(m.dir, filepath.Base(name))
		out, err := os.Create(path)
		if err != nil {
			m.t.Fatal(err)
		}
		defer out.Close()
		if _, err := io.Copy(out, r); err != nil {
			m.t.Fatal(err)
		}
		return path
	}
	line := b.Cmdline(boards.SlotA)
	args := []string{"-kernel", take(kernel)}
	if b.Method == boards.Pi {
		read, err := os.ReadFile(take("cmdline-a.txt"))
		if err != nil {
			m.t.Fatal(err)
		}
		line = strings.TrimSpace(string(read))
		args = append(args, "-dtb", take(b.QEMU.DTB), "-initrd", take(boards.Initramfs))
	}
	// Later words win, so the played machine's console comes last.
	return append(args, "-append", strings.TrimSpace(line+" "+b.QEMU.ExtraArgs+" "+m.o.Append))
}

// writeEntries puts the words of Append into the loader's entries on the disk.
func (m *Machine) writeEntries() {
	m.t.Helper()
	f, err := os.OpenFile(m.DiskPath(), os.O_RDWR, 0)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	for _, s := range boards.Slots() {
		if _, err := f.WriteAt(m.o.Image.Board.Entry(s, m.o.Append), m.FileOnBoot("loader/entries/"+string(s)+".conf")); err != nil {
			m.t.Fatal(err)
		}
	}
}

// Cut pulls the plug. The machine may be started again. It is harmless when the machine is off.
func (m *Machine) Cut() {
	m.kill()
	if m.unlock != nil {
		m.unlock()
		m.unlock = nil
	}
}

func (m *Machine) kill() {
	if m.cmd == nil {
		return
	}
	m.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-m.exited
	m.cmd = nil
	os.Remove(m.monitorPath()) //nolint:errcheck // QEMU may have removed it
}

func (m *Machine) running() bool {
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// Monitor sends one line to QEMU's monitor, such as system_reset.
func (m *Machine) Monitor(line string) {
	m.t.Helper()
	c, err := net.DialTimeout("unix", m.monitorPath(), 5*time.Second)
	if err != nil {
		m.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // a unix socket takes deadlines
	if err := until(c, "(qemu) "); err != nil {
		m.t.Fatal(err)
	}
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		m.t.Fatal(err)
	}
	if err := until(c, "(qemu) "); err != nil && !errors.Is(err, io.EOF) {
		m.t.Fatal(err)
	}
}

func until(r io.Reader, prompt string) error {
	var got bytes.Buffer
	b := make([]byte, 256)
	for !bytes.HasSuffix(got.Bytes(), []byte(prompt)) {
		n, err := r.Read(b)
		if err != nil {
			return err
		}
		got.Write(b[:n])
	}
	return nil
}

// Serial returns what this boot said on the serial console.
func (m *Machine) Serial() string {
	b, err := os.ReadFile(m.serialPath())
	if err != nil {
		return ""
	}
	return string(bytes.ReplaceAll(b, []byte{0}, nil))
}

// Tail returns the end of Serial.
func (m *Machine) Tail(n int) string {
	s := m.Serial()
	return s[max(0, len(s)-n):]
}

// wait polls until done says so. It ends the test at the deadline, when QEMU ends, or when the kernel panics.
func (m *Machine) wait(what string, limit time.Duration, done func() bool) {
	m.t.Helper()
	start := time.Now()
	for !done() {
		s := m.Serial()
		switch {
		case !m.running():
			m.t.Fatalf("QEMU ended while waiting for %s", what)
		case !m.o.PanicOK && strings.Contains(s, "Kernel panic"):
			m.t.Fatalf("the kernel panicked while waiting for %s:\n%s", what, m.Tail(2500))
		case time.Since(start) > limit:
			m.t.Fatalf("no %s within %s:\n%s", what, limit, m.Tail(2500))
		}
		time.Sleep(100 * time.Millisecond)
	}
	m.t.Logf("%s after %s", what, time.Since(start).Round(100*time.Millisecond))
}

// WaitSerial waits until this boot's serial log holds text.
func (m *Machine) WaitSerial(text string, limit time.Duration) {
	m.t.Helper()
	m.wait(strconv.Quote(text)+" on the serial console", limit, func() bool { return strings.Contains(m.Serial(), text) })
}

// Client is an http client that keeps no connections, so that no request hangs on a machine that was cut.
var Client = &http.Client{
	Timeout:   10 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	},
}

// WaitPage waits until http://box/ answers anything at all, and returns its status and body.
func (m *Machine) WaitPage(limit time.Duration) (int, string) {
	m.t.Helper()
	status, body := 0, ""
	// QEMU takes a connection before the box listens and lets it hang, so the first tries are short.
	patience := 700 * time.Millisecond
	m.wait("the first page", limit, func() bool {
		ctx, cancel := context.WithTimeout(m.t.Context(), patience)
		defer cancel()
		patience = min(patience*21/20, 10*time.Second)
		var err error
		status, body, err = m.do(ctx, http.MethodGet, "/", nil)
		return err == nil
	})
	return status, body
}

// Get fetches a path by plain http.
func (m *Machine) Get(path string) (int, string, error) {
	return m.do(m.t.Context(), http.MethodGet, path, nil)
}

// Put sends content to a path of the probe.
func (m *Machine) Put(path string, content []byte) {
	m.t.Helper()
	status, body, err := m.do(m.t.Context(), http.MethodPut, path, bytes.NewReader(content))
	if err != nil || status != http.StatusOK {
		m.t.Fatalf("PUT %s: %d %s %v", path, status, body, err)
	}
}

func (m *Machine) do(ctx context.Context, method, path string, content io.Reader) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+m.Addr("tcp", 80)+path, content)
	if err != nil {
		return 0, "", err
	}
	req.Host = m.Host
	resp, err := Client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	return resp.StatusCode, string(b), err
}

// Perm copies /perm's partition, as long as it now is, to a file of its own and returns its path; the machine must be
// off. e2fsck and debugfs read it there without touching the disk.
func (m *Machine) Perm() string {
	m.t.Helper()
	if m.cmd != nil {
		m.t.Fatal("the machine is running")
	}
	f, err := os.Open(m.DiskPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	offset, size := m.partition(f, boards.PermNumber)
	path := filepath.Join(m.dir, "perm.ext4")
	out, err := os.Create(path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	if err := copyData(out, f, offset, size); err != nil {
		m.t.Fatal(err)
	}
	return path
}

// Partition says where partition n lies on the disk now, in bytes.
func (m *Machine) Partition(n int) (offset, size int64) {
	m.t.Helper()
	f, err := os.Open(m.DiskPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	return m.partition(f, n)
}

// FileOnBoot says where the content of a file on the boot partition begins on the disk, in bytes.
func (m *Machine) FileOnBoot(path string) int64 {
	m.t.Helper()
	f, err := os.Open(m.DiskPath())
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	p := m.o.Image.Board.Table.Part(boards.BootNumber)
	fat, err := disk.OpenFAT(f, p.Offset, p.Size)
	if err != nil {
		m.t.Fatal(err)
	}
	_, ext, err := fat.Stat(path)
	if err != nil || len(ext) == 0 {
		m.t.Fatalf("%s on the boot partition: %v", path, err)
	}
	return ext[0].Offset
}

// partition reads the disk's own table.
func (m *Machine) partition(f *os.File, n int) (offset, size int64) {
	m.t.Helper()
	st, err := f.Stat()
	if err != nil {
		m.t.Fatal(err)
	}
	sectors := uint64(st.Size() / disk.SectorSize)
	if m.o.Image.Board.Method == boards.Pi {
		t, err := disk.ReadMBR(f, sectors)
		if err != nil {
			m.t.Fatal(err)
		}
		e := t.Entries[n-1]
		return int64(e.First) * disk.SectorSize, int64(e.Sectors) * disk.SectorSize
	}
	g, _, err := disk.ReadGPT(f, sectors)
	if err != nil {
		m.t.Fatal(err)
	}
	e := g.Entries[n-1]
	return int64(e.First) * disk.SectorSize, int64(e.Sectors()) * disk.SectorSize
}

func copySparse(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	return copyData(out, in, 0, st.Size())
}

// copyData copies the parts of in that are no holes, and makes out size bytes long.
func copyData(out, in *os.File, offset, size int64) error {
	if err := out.Truncate(size); err != nil {
		return err
	}
	end := offset + size
	for at := offset; at < end; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || data >= end {
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		hole = min(hole, end)
		if _, err := out.Seek(data-offset, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(out, io.NewSectionReader(in, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
	return nil
}

func freePort(t T, network string) int {
	t.Helper()
	if network == "udp" {
		c, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.LocalAddr().(*net.UDPAddr).Port
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// takeTurn waits until no other machine runs on this computer.
func (m *Machine) takeTurn() {
	m.t.Helper()
	f, err := os.OpenFile(filepath.Join(os.TempDir(), "hearth-vm.lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		m.t.Fatal(err)
	}
	deadline := time.Now().Add(30 * time.Minute)
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			m.unlock = func() { f.Close() }
			return
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			f.Close()
			m.t.Fatalf("another virtual machine runs on this computer: %v", err)
		}
		time.Sleep(time.Second)
	}
}
