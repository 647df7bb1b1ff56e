package appliance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth.alt/appliance/api"
	"hearth.alt/appliance/keeper"
	"hearth.alt/services"
	"hearth.alt/services/durable"
)

// Run is hearth run. Started as root without --dev it becomes the keeper and starts itself again as the unprivileged
// child; else keeper and services live in this process. It returns nil after a clean stop.
func Run(ctx context.Context, o Options, stdout, stderr io.Writer) (err error) {
	o = o.withDefaults()
	defer func() { err = explainState(o.State, err) }()
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if isChild() {
		k, err := keeper.FromParent(ctx)
		if err != nil {
			return err
		}
		defer k.Close()
		// Without its keeper this process can do nothing more; the next one starts both.
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			<-k.Gone()
			stop()
		}()
		err = be(ctx, o, k, log, stdout, nil)
		if errors.Is(err, keeper.ErrAdopted) {
			return nil // the keeper knows, and starts the next child with the new key
		}
		return err
	}
	state, err := filepath.Abs(o.State)
	if err != nil {
		return err
	}
	o.State = state
	if err := durable.MakeDir(o.State, 0o755); err != nil {
		return err
	}
	if err := checkOwner(o.State); err != nil {
		return err
	}
	unlock, err := lock(o.State)
	if err != nil {
		return err
	}
	defer unlock()
	return lives(ctx, o, log, func(k *keeper.Local) error {
		if err := checkPorts(ctx, o, k); err != nil {
			return err
		}
		if os.Getuid() == 0 && !o.Dev {
			return keeper.Run(ctx, childConfig(o, log), k)
		}
		return be(ctx, o, k, log, stdout, reader(o, stderr))
	})
}

// be is the unprivileged part: everything but the keeper. people is where somebody reads along; nil is nobody.
func be(ctx context.Context, o Options, k keeper.Keeper, log *slog.Logger, stdout, people io.Writer) error {
	ctx, restart := context.WithCancelCause(ctx)
	defer restart(nil)
	a, err := wire(ctx, o, k, log)
	if err != nil {
		return err
	}
	a.restart = restart
	return a.run(ctx, stdout, people)
}

// run runs all parts until ctx ends; keeper.ErrAdopted when that is why it ended.
func (a *appliance) run(ctx context.Context, stdout, people io.Writer) error {
	if err := a.finishRekey(ctx); err != nil {
		return err
	}
	if err := a.claim.load(ctx); err != nil {
		return fmt.Errorf("reading the claim secret: %w", err)
	}
	a.claim.tell(a.identity.Membership())
	// Ready is ready for the verbs too: whoever waits for the line may ask over the console at once. A console that
	// cannot be opened holds nothing up for long.
	console := make(chan struct{})
	a.console.listening = sync.OnceFunc(func() { close(console) })
	a.faces.listening = func(plain, _ net.Addr) {
		go func() {
			select {
			case <-console:
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
				return
			}
			fmt.Fprintln(stdout, a.readyLine(plain))
			if people != nil {
				a.greet(ctx, people, plain)
			}
		}()
	}
	err := supervise(ctx, a.log, a.services())
	if cause := context.Cause(ctx); errors.Is(cause, keeper.ErrAdopted) {
		return cause
	}
	return err
}

// readyLine is the one line that says that the box can be used. The claim secret stands in it only with --dev.
func (a *appliance) readyLine(at net.Addr) string {
	line := "hearth ready http=" + at.String()
	if api.OwnershipOf(a.identity.Membership()) != api.Unclaimed {
		return line
	}
	url := "http://" + at.String() + "/"
	if code, ok := a.claim.code(); ok && a.opts.Dev {
		url += "#" + code.Text()
	}
	return line + " claim=" + url
}

// explainState says what is wrong with a state folder in a sentence; any other error it leaves alone.
func explainState(state string, err error) error {
	var p *services.Problem
	if err == nil || errors.As(err, &p) {
		return err
	}
	p = &services.Problem{Kind: services.KindUnavailable, Cause: err}
	switch {
	case durable.Full(err):
		p.Code = "disk-full"
		p.Say = services.Say("run.disk-full", "The disk with the state folder {state} is full. Make room, then start again; nothing was lost.", "state", state)
	case errors.Is(err, unix.EROFS):
		p.Code = "state-read-only"
		p.Say = services.Say("run.state-read-only", "The state folder {state} is on a disk that cannot be written. Name another folder with --state.", "state", state)
	case errors.Is(err, fs.ErrPermission):
		p.Code = "state-not-ours"
		p.Say = services.Say("run.state-not-ours", "The state folder {state} belongs to another user, or cannot be written. Run this as that user, or name another folder with --state.", "state", state)
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EISDIR), errors.Is(err, durable.ErrNotFolder):
		p.Code = "state-no-folder"
		p.Say = services.Say("run.state-no-folder", "{state} cannot be the state folder, because a file is in its place. Name another folder with --state.", "state", state)
	default:
		return err
	}
	return p
}

// checkOwner refuses a state folder with what only another user can read, as after a start with sudo: a service that came
// upon it took its own file for damaged.
func checkOwner(state string) error {
	me := os.Geteuid()
	if me == 0 {
		return nil
	}
	return filepath.WalkDir(state, func(path string, _ fs.DirEntry, err error) error {
		info, gone := os.Lstat(path)
		if gone != nil || info.Mode().Type()&^fs.ModeDir != 0 {
			return nil
		}
		mode := uint32(unix.R_OK)
		if info.IsDir() {
			mode = unix.R_OK | unix.W_OK | unix.X_OK
		}
		owner := info.Sys().(*syscall.Stat_t).Uid
		if int(owner) == me || unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS) == nil {
			return nil
		}
		name := strconv.Itoa(int(owner))
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
		return &services.Problem{
			Kind: services.KindUnavailable, Code: "state-not-ours", Cause: err,
			Say: services.Say("run.state-of-another", "Files in the state folder {state} belong to {owner}, who started Hearth there before. Start it as {owner} again, or make the files yours with: {command}",
				"state", state, "owner", name, "command", fmt.Sprintf("sudo chown -R %d %s", me, quote(state))),
		}
	})
}

var errInUse = &services.Problem{
	Kind: services.KindConflict, Code: "state-in-use",
	Say: services.Say("run.state-in-use", "Another Hearth is running with this state folder. Stop it first, or name another folder with --state."),
}

// lock makes sure that one Hearth uses a state root. The keeper takes it as root in a folder that its child may write
// in, and so follows no link there.
func lock(state string) (unlock func(), err error) {
	path := filepath.Join(state, "lock")
	open := func() (*os.File, error) {
		return os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	}
	f, err := open()
	if errors.Is(err, unix.ELOOP) && os.Remove(path) == nil {
		f, err = open() // a link is no lock of anyone's, and must not keep the box from starting either
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errInUse
		}
		return nil, err
	}
	return func() { f.Close() }, nil
}
