package keeper

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The child's user and group on a device. The image has no user database, so it is a number of the range that nobody
// hands out (systemd's UIDS-GIDS.md leaves 60578 to 61183 and from 62,000 on to local use).
const (
	ChildUID = 64001
	ChildGID = 64001
)

const (
	// stopTime is how long the child has after SIGTERM, within the five seconds that the program promises.
	stopTime    = 4500 * time.Millisecond
	steady      = 10 * time.Second
	maxPause    = 8 * time.Second
	maxFiles    = 65536
	maxChildren = 1024
)

// RunConfig is what Run needs.
type RunConfig struct {
	// Program is the child's program; "" means this one.
	Program string
	// Args are its arguments, without the program's name.
	Args []string
	// Env is its environment; nil means HOME, PATH, TMPDIR and TZ of this process.
	Env []string
	// Dir is its working directory; "" means "/".
	Dir string
	// UID and GID are the child's; 0 means ChildUID and ChildGID. It gets no other groups.
	UID, GID int
	// Memory is how many bytes the child and its workers may use before the kernel ends them; 0 means no limit.
	// It needs cgroup v2 with the memory controller; without it the log says so.
	Memory int64
	// Stdout and Stderr are the child's; nil means those of this process.
	Stdout, Stderr *os.File
	// Steady is how long a child lives before its next end counts as the first; 0 means ten seconds.
	Steady time.Duration
	// Started is called with the process id of each child; nil is allowed.
	Started func(pid int)
	// Log is required.
	Log *slog.Logger
}

// Run gives the state to the child's user, all but secrets/, spawns the child and serves it from k until ctx ends.
// A child that ends is started again: at once the first time, then after pauses that double from a quarter of a second
// to eight seconds, shortened by up to a quarter at random. When ctx ends the child gets SIGTERM and, after four seconds,
// SIGKILL with all it started; Run then returns nil. When a child ends after AdoptDevice, Run returns ErrAdopted. It
// needs root.
//
// The child has no capability and can gain none (empty bounding set, no_new_privs), no supplementary groups, no core
// dumps, the keeper's socket as descriptor ChildFD and nothing else of the keeper's. It is killed when the keeper
// dies, however that happens.
func Run(ctx context.Context, cfg RunConfig, k *Local) error {
	if cfg.Log == nil {
		return errors.New("keeper: Log is required")
	}
	if os.Geteuid() != 0 {
		return errors.New("keeper: splitting into two processes needs root")
	}
	if cfg.UID == 0 {
		cfg.UID = ChildUID
	}
	if cfg.GID == 0 {
		cfg.GID = ChildGID
	}
	if cfg.Program == "" {
		var err error
		if cfg.Program, err = os.Executable(); err != nil {
			return err
		}
	}
	if cfg.Env == nil {
		for _, name := range []string{"HOME", "PATH", "TMPDIR", "TZ"} {
			if v, ok := os.LookupEnv(name); ok {
				cfg.Env = append(cfg.Env, name+"="+v)
			}
		}
	}
	if cfg.Steady == 0 {
		cfg.Steady = steady
	}
	if cfg.Dir == "" {
		cfg.Dir = "/"
	}
	if cfg.Stdout == nil {
		cfg.Stdout = os.Stdout
	}
	if cfg.Stderr == nil {
		cfg.Stderr = os.Stderr
	}
	if err := handOver(k.cfg.State, cfg.UID, cfg.GID); err != nil {
		return fmt.Errorf("giving the state to the child: %w", err)
	}
	group := memoryGroup(cfg.Memory, cfg.Log)
	if group != nil {
		defer group.Close()
	}
	for failures := 0; ; failures++ {
		began := time.Now()
		err := runChild(ctx, cfg, k, group)
		if ctx.Err() != nil {
			return nil
		}
		if k.outdated() {
			return ErrAdopted
		}
		if time.Since(began) > cfg.Steady {
			failures = 0
		}
		pause := restartPause(failures, rand.Float64())
		cfg.Log.Error("the child ended and is started again", "error", err, "after", time.Since(began), "pause", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// restartPause is the time before the child is started again after failures earlier ends in a row; chance is in
// [0, 1).
func restartPause(failures int, chance float64) time.Duration {
	if failures <= 0 {
		return 0
	}
	pause := min(250*time.Millisecond<<min(failures-1, 16), maxPause)
	return pause - time.Duration(chance*float64(pause)/4)
}

// runChild runs one child to its end.
func runChild(ctx context.Context, cfg RunConfig, k Keeper, group *os.File) error {
	ours, theirs, err := SocketPair()
	if err != nil {
		return err
	}
	cmd := exec.Command(cfg.Program, cfg.Args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = cfg.Env, cfg.Dir, cfg.Stdout, cfg.Stderr
	cmd.ExtraFiles = []*os.File{theirs} // the first becomes descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: uint32(cfg.UID), Gid: uint32(cfg.GID), Groups: []uint32{}},
		Setpgid:    true, // so that its workers end with it
		Pdeathsig:  syscall.SIGKILL,
	}
	if group != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(group.Fd())
	}

	started, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		// The thread that starts the child gives it what a thread has: an empty bounding set and no_new_privs. It is
		// never used for anything else, and lives as long as the child: the parent's death signal is the death of
		// this thread, not of the process.
		runtime.LockOSThread()
		err := dropForChild()
		if err == nil {
			err = cmd.Start()
		}
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	err = <-started
	theirs.Close()
	if err != nil {
		ours.Close()
		return fmt.Errorf("starting %q: %w", cfg.Program, err)
	}
	pid := cmd.Process.Pid
	limit(pid, cfg.Log)
	if cfg.Started != nil {
		cfg.Started(pid)
	}

	serveCtx, stopServing := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := Serve(serveCtx, ours, k, cfg.Log); err != nil {
			cfg.Log.Error("answering the child", "error", err)
		}
	})
	defer serving.Wait()
	defer stopServing()
	// What the child started and left behind holds ports and files.
	defer unix.Kill(-pid, unix.SIGKILL)

	select {
	case err := <-ended:
		return endedAs(err)
	case <-ctx.Done():
	}
	// The child is answered while it stops, so that it can say goodbye properly.
	unix.Kill(pid, unix.SIGTERM)
	select {
	case err := <-ended:
		return endedAs(err)
	case <-time.After(stopTime):
		cfg.Log.Warn("the child did not stop in time", "time", stopTime)
		unix.Kill(-pid, unix.SIGKILL)
		return endedAs(<-ended)
	}
}

func endedAs(err error) error {
	if err == nil {
		return errors.New("it ended by itself")
	}
	return err
}

// dropForChild takes from this thread what a child of it must not inherit.
func dropForChild() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no new privileges: %w", err)
	}
	for c := uintptr(0); ; c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); errors.Is(err, unix.EINVAL) && c > 0 {
			return nil // past the last capability this kernel knows
		} else if err != nil {
			return fmt.Errorf("dropping capability %d: %w", c, err)
		}
	}
}

// limits bound the child and all it starts. A core dump would hold secrets.
var limits = map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxFiles, unix.RLIMIT_NPROC: maxChildren}

// limitSelf sets the limits for this process, lowering hard limits only: that needs no privilege.
func limitSelf() error {
	var errs []error
	for resource, value := range limits {
		var now unix.Rlimit
		if err := unix.Getrlimit(resource, &now); err != nil {
			errs = append(errs, err)
			continue
		}
		value = min(value, now.Max)
		errs = append(errs, unix.Setrlimit(resource, &unix.Rlimit{Cur: value, Max: value}))
	}
	return errors.Join(errs...)
}

// limit bounds a child that has just started. Nothing here is worth failing for: the child sets its limits itself
// (FromParent) where the keeper lacks the capability to do it for another user's process.
func limit(pid int, log *slog.Logger) {
	for resource, value := range limits {
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: value, Max: value}, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			log.Debug("limiting the child", "resource", resource, "error", err)
		}
	}
	// When memory runs out the child goes, not the keeper that starts it again.
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("300"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Warn("limiting the child", "limit", "oom_score_adj", "error", err)
	}
}

// memoryGroup makes the cgroup that bounds the child's memory; nil when there is no limit or no way.
func memoryGroup(limit int64, log *slog.Logger) *os.File {
	if limit <= 0 {
		return nil
	}
	const root = "/sys/fs/cgroup"
	dir := filepath.Join(root, "hearth")
	f, err := func() (*os.File, error) {
		b, err := os.ReadFile(filepath.Join(root, "cgroup.controllers"))
		if err != nil {
			return nil, err
		}
		if !strings.Contains(" "+strings.TrimSpace(string(b))+" ", " memory ") {
			return nil, errors.New("there is no memory controller")
		}
		if err := os.WriteFile(filepath.Join(root, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			return nil, err
		}
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(strconv.FormatInt(limit, 10)), 0); err != nil {
			return nil, err
		}
		// All of it goes together: a half-dead child would not be started again.
		if err := os.WriteFile(filepath.Join(dir, "memory.oom.group"), []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		return os.Open(dir)
	}()
	if err != nil {
		log.Warn("the child's memory is not limited", "error", err)
		return nil
	}
	return f
}

// handOver makes the state the child's, all but secrets/. The root itself stays root's: with the sticky bit and the
// child's group it may add files and folders and replace its own, but not move secrets/ away and put another there.
//
// Symbolic links are not followed. A file with more than one name is left alone: a child of before could have made a
// second name here for a file that is not its own.
func handOver(state string, uid, gid int) error {
	if err := os.Chown(state, 0, gid); err != nil {
		return err
	}
	if err := os.Chmod(state, 0o775|fs.ModeSticky); err != nil {
		return err
	}
	return filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == state {
			return nil
		}
		if path == filepath.Join(state, "secrets") {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if (st.Uid == uint32(uid) && st.Gid == uint32(gid)) || (!d.IsDir() && st.Nlink > 1) {
			return nil
		}
		return os.Lchown(path, uid, gid)
	})
}
