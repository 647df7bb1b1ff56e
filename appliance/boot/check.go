package boot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// PermState is how /perm was found.
type PermState string

// The states of /perm.
const (
	PermClean    PermState = "clean"    // nothing to do, or only a journal to replay
	PermRepaired PermState = "repaired" // damage was found and repaired; some files may be lost
	PermSkipped  PermState = "skipped"  // not checked, because it was in use already
	PermDamaged  PermState = "damaged"  // could not be repaired or mounted: the recovery page is shown
)

// Deadlines of the check. A full check of a large slow disk takes minutes; on a card in QEMU it took 0.3 to 6 s.
const (
	quickCheck = 15 * time.Minute
	fullCheck  = 60 * time.Minute
)

// Bits of e2fsck's exit status (e2fsck(8)).
const (
	fsckCorrected   = 1
	fsckReboot      = 2
	fsckUncorrected = 4
	fsckOperational = 8
	fsckBad         = ^(fsckCorrected | fsckReboot)
)

// runner runs e2fsck with args and returns its exit status and the end of what it said.
type runner func(ctx context.Context, args ...string) (status int, said string, err error)

// checkPerm checks the file system and repairs it: first as a boot does (-p), and if that gives up with -y and then
// -f -y, because after repairing from a backup superblock the file system calls itself clean with wrong counts
// (facts/gokrazy2.md 3). It never makes a new file system.
func checkPerm(ctx context.Context, run runner) (PermState, string) {
	quick, cancel := context.WithTimeout(ctx, quickCheck)
	defer cancel()
	status, said, err := run(quick, "-p")
	if err == nil && status&fsckBad == 0 {
		if status&fsckCorrected != 0 {
			return PermRepaired, said
		}
		return PermClean, said
	}
	for range 3 {
		full, cancel := context.WithTimeout(ctx, fullCheck)
		_, _, first := run(full, "-y")
		status, said, err = run(full, "-f", "-y")
		cancel()
		if first != nil || err != nil {
			return PermDamaged, errors.Join(first, err).Error()
		}
		if status&fsckBad == 0 {
			return PermRepaired, said
		}
	}
	return PermDamaged, fmt.Sprintf("the check ended with status %d: %s", status, said)
}

// e2fsck runs the program of the image on the device at path.
func e2fsck(path string) runner {
	return func(ctx context.Context, args ...string) (int, string, error) {
		var out tail
		cmd := exec.CommandContext(ctx, checker, append(args, path)...)
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.WaitDelay = 5 * time.Second
		err := cmd.Run()
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() {
			return exit.ExitCode(), out.String(), nil
		}
		if err != nil {
			return 0, "", fmt.Errorf("running the check: %w", err)
		}
		return 0, out.String(), nil
	}
}

// tail keeps the last 600 bytes written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-600):]
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.b)) }

// inUse says whether the device is mounted or held, also where this process cannot see the mount.
func inUse(path string) bool {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_EXCL, 0)
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	f.Close()
	return false
}

// permMounted says whether an ext4 that can be written is mounted on /perm. gokrazy only logs a failed mount.
func permMounted() error {
	var st unix.Statfs_t
	if err := unix.Statfs(PermDir, &st); err != nil {
		return err
	}
	if st.Type != unix.EXT4_SUPER_MAGIC {
		return errors.New("nothing is mounted on /perm")
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return errors.New("/perm can only be read")
	}
	return nil
}
