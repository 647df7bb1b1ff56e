package boot

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/boards"
	"hearth.alt/services/claimcode"
	"hearth.alt/services/clock"
	"hearth.alt/services/durable"
)

// timeServers are asked over NTP: public services of three keepers, none of which needs a contract.
var timeServers = []string{"time.cloudflare.com", "ptbtime1.ptb.de", "ptbtime2.ptb.de", "time.nist.gov"}

// sysctls are written at boot; the firewall owns those of forwarding.
var sysctls = [][2]string{
	{"net/core/rmem_max", "7500000"}, // what quic-go asks for, in bytes
	{"net/core/wmem_max", "7500000"},
	{"kernel/kptr_restrict", "2"},
	{"kernel/dmesg_restrict", "1"},
	{"kernel/unprivileged_bpf_disabled", "1"},
	{"fs/protected_symlinks", "1"},
	{"fs/protected_hardlinks", "1"},
}

// Gokrazy is what process 1 takes from gokrazy; appliance/cmd/init hands it in. Importing gokrazy starts a goroutine
// that wakes every second and brings the drivers of a watchdog and of power buttons along, and the hearth program
// imports this package too, for its paths and for EraseClaim.
type Gokrazy struct {
	Boot func(version string) error // mounts, watchdog, loopback, host name
	// Supervise starts the programs, in this order, again whenever one ends, and returns at once.
	Supervise func([]*exec.Cmd) error
}

// Main is process 1; with the argument "recovery" the program that serves the recovery page; with "console" and a
// command the one that shows that command's log on the console. It never returns as process 1.
func Main(g Gokrazy) {
	log.SetFlags(0)
	if len(os.Args) > 1 && os.Args[1] == "recovery" {
		serveRecovery()
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "console" {
		os.Exit(toConsole(os.Args[2:]))
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init is process 1 of a Hearth image; there is nothing to run here")
		os.Exit(1)
	}
	run(g)
	select {}
}

// run does everything and returns when the services are supervised. Whatever fails on the way is said and, where
// the box can do without it, passed over.
func run(g Gokrazy) {
	start := time.Now()
	log.SetOutput(calm{log.Writer()})
	log.Printf("hearth: %s starts", Version)
	for _, m := range [][2]string{{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}} {
		if err := unix.Mount(m[0], m[1], m[0], 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			log.Printf("hearth: mounting %s: %v", m[1], err)
		}
	}
	r := &Report{Version: Version, Perm: PermSkipped, Journal: true}
	m, err := FindMachine()
	trouble := before(m, err, r)

	if err := g.Boot(Version); err != nil {
		// What Boot does last (loopback, syslog, power button) is worth less than a box that answers.
		log.Printf("hearth: gokrazy: %v", err)
	}
	if err := permMounted(); err != nil && trouble == nil {
		r.Perm = PermDamaged
		trouble = &Trouble{"The storage could not be opened after it was checked.", err.Error() + "\n" + r.Detail}
	}
	raiseClock()
	for _, s := range sysctls {
		if err := os.WriteFile("/proc/sys/"+s[0], []byte(s[1]), 0o644); err != nil {
			log.Printf("hearth: setting %s: %v", s[0], err)
		}
	}
	if err := os.MkdirAll(RunDir, 0o755); err != nil {
		log.Printf("hearth: %v", err)
	}
	view := View{}
	if trouble == nil {
		if err := os.MkdirAll(StateDir, 0o755); err != nil {
			log.Printf("hearth: %v", err)
		}
		if name := boxName(); name != "" {
			if err := unix.Sethostname([]byte(name)); err != nil {
				log.Printf("hearth: setting the host name: %v", err)
			}
		}
		if err := growAll(m, r); err != nil {
			log.Printf("hearth: %v", err)
		}
		view.Code = claim(m)
	} else {
		log.Printf("hearth: damaged: %s (%s)", trouble.Sentence, strings.ReplaceAll(trouble.Measured, "\n", " | "))
		view.Trouble = trouble.Sentence
	}
	r.Took = time.Since(start)
	if err := r.write(report); err != nil {
		log.Printf("hearth: %v", err)
	}
	log.Printf("hearth: /perm %s, slot %q, services start after %s", r.Perm, r.Slot, r.Took.Round(time.Millisecond))
	if err := g.Supervise(services(trouble)); err != nil {
		log.Printf("hearth: supervising: %v", err)
	}
	go watch(view)
}

// before is what happens before /perm is mounted: table, growth, check. It returns what the recovery page must say,
// or nil.
func before(m *Machine, err error, r *Report) *Trouble {
	if err != nil {
		r.Perm = PermDamaged
		return &Trouble{"The box does not find its own disk, or cannot read how it is divided.", err.Error()}
	}
	r.Board, r.Slot, r.Disk = m.Board.Name, m.Slot, m.Disk
	log.Printf("hearth: board %s, disk %s of %d MiB, slot %q", m.Board.Name, m.Disk, m.Sectors>>11, m.Slot)
	g, err := m.Grow()
	if err != nil {
		// A card that takes no writes still holds data; say so and go on.
		log.Printf("hearth: growing: %v", err)
	}
	r.TableRepaired = g.Repaired
	if g.To > g.From {
		log.Printf("hearth: /perm's partition grew from %d to %d MiB", g.From>>11, g.To>>11)
	}
	part := m.PartitionPath(4)
	if inUse(part) {
		return nil
	}
	start := time.Now()
	r.Perm, r.Detail = checkPerm(background, e2fsck(part))
	log.Printf("hearth: checked /perm in %s: %s", time.Since(start).Round(time.Millisecond), r.Perm)
	if r.Perm == PermDamaged {
		return &Trouble{"The check of the storage could not repair it.", r.Detail}
	}
	if f, err := os.Open(part); err == nil {
		defer f.Close()
		if s, err := readSuperblock(f); err == nil {
			r.Journal = s.journal
		}
	}
	return nil
}

// growAll makes the file system fill its partition: a small step is done at once, so that the first services already
// see the space; a large one beside them, because it takes seconds.
func growAll(m *Machine, r *Report) error {
	done := make(chan error, 1)
	go func() {
		from, to, err := m.GrowFileSystem()
		if err == nil && to > from {
			r.GrownFrom, r.GrownTo = from, to
			log.Printf("hearth: /perm grew from %d to %d MiB", from>>20, to>>20)
		}
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(2 * time.Second):
	}
	go func() {
		if err := <-done; err != nil {
			log.Printf("hearth: %v", err)
		}
	}()
	return nil
}

// claim makes sure an unowned box has its code, and puts it where keeper and screen find it.
func claim(m *Machine) claimcode.Code {
	f, err := os.OpenFile(m.DiskPath(), os.O_RDWR, 0)
	if err != nil {
		log.Printf("hearth: %v", err)
		return claimcode.Code{}
	}
	defer f.Close()
	code, err := ensureCode(f, m.Board, owned())
	if err != nil {
		log.Printf("hearth: the claim code on the card: %v", err)
	}
	if err := publish(RunDir, code); err != nil {
		log.Printf("hearth: the claim code for the keeper: %v", err)
	}
	return code
}

// begun says whether the box has an owner already, who may still be at the recovery words and the first phone. The
// code then goes on to open the sealed pages, and is shown to nobody any more.
func begun() bool {
	_, err := os.Stat(filepath.Join(StateDir, "identity", "log"))
	return err == nil
}

// raiseClock sets the system clock to the greater of what it says and what is known: the image's time, and the last
// time this box wrote down. A board without a clock battery starts in 1970, and certificates of the time's servers
// would not be valid then.
func raiseClock() {
	c, err := clock.New(StateDir+"/clock", clock.Machine(), false)
	if err != nil {
		log.Printf("hearth: %v", err)
		return
	}
	known := c.Now()
	if time.Now().After(known) {
		return
	}
	tv := unix.NsecToTimeval(known.UnixNano())
	if err := unix.Settimeofday(&tv); err != nil {
		log.Printf("hearth: setting the clock: %v", err)
	}
}

var label = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// boxName is the name the box was given, "" before the claim.
func boxName() string {
	b, err := durable.ReadSmall(HostnameFile, 1<<10) // where hearth, which is not root, may write
	name := strings.TrimSpace(string(b))
	if err != nil || !label.MatchString(name) {
		return ""
	}
	return name
}

// services is the list gokrazy supervises: with damaged storage the network and the recovery page only.
func services(t *Trouble) []*exec.Cmd {
	service := func(path string, args ...string) *exec.Cmd {
		return &exec.Cmd{Path: path, Args: append([]string{path}, args...), Env: os.Environ()}
	}
	args := map[string][]string{"ntp": timeServers}
	var out []*exec.Cmd
	for _, p := range boards.Programs {
		if name := path.Base(p); t == nil || name == "dhcp" {
			out = append(out, service("/gokrazy/"+name, args[name]...))
		}
	}
	if t != nil {
		cmd := &exec.Cmd{Path: "/gokrazy/init", Args: []string{"/gokrazy/init", "recovery"},
			Env: append(os.Environ(), "HEARTH_TROUBLE="+t.Sentence, "HEARTH_MEASURED="+t.Measured)}
		return append(out, cmd)
	}
	hearth := []string{"/user/hearth", "run", "--state", StateDir}
	if cmdline, err := os.ReadFile("/proc/cmdline"); err == nil {
		if v, _ := argument(string(cmdline), "hearth.console"); v == "1" {
			return append(out, service("/gokrazy/init", append([]string{"console"}, hearth...)...))
		}
	}
	return append(out, service(hearth[0], hearth[1:]...))
}

// toConsole runs a command and writes what it says to the console too; gokrazy keeps only the last hundred lines, in
// memory. hearth.console=1 on the kernel's command line asks for it: for the laboratory, and for a person who helps.
// A stop signal reaches the command by itself, because gokrazy sends it to the whole process group.
func toConsole(command []string) int {
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		log.Print(err)
		return 1
	}
	signal.Ignore(unix.SIGTERM)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout = io.MultiWriter(os.Stdout, console)
	cmd.Stderr = io.MultiWriter(os.Stderr, console)
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	case err != nil:
		log.Print(err)
		return 1
	}
	return 0
}
