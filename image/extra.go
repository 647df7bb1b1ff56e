package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// e2fsckPin is Debian's package of a checker that needs no libraries. The kernel refuses to mount a file system whose
// journal is damaged (facts/gokrazy2.md 3), so the box must be able to repair one itself.
var e2fsckPin = struct {
	version string
	program map[string]string // GOARCH -> SHA-256 of sbin/e2fsck.static
	legal   string            // SHA-256 of the copyright file, the same in both
}{
	version: "1.47.0-2+b2",
	program: map[string]string{
		"arm64": "eb00b66eb32461ce827eb90e33284ca4fd5e2889f3aaa59bf3d635953156f2a6",
		"amd64": "416207c69ed6a0c006fe098779e748f03ddfbeb519c359f040a70af384451b3e",
	},
	legal: "1ca415a294c0e56958c4f795b3f1f69ea3479bca53d7811f5cdd020a258949db",
}

type e2fsck struct{ program, copyright string }

// fetchE2fsck returns the checker for the board from .tools/e2fsck, and fetches it there with apt, for another
// architecture too and without changing anything on the machine.
func fetchE2fsck(ctx context.Context, o Options) (*e2fsck, error) {
	arch := o.Board.GOARCH
	dir := filepath.Join(o.Module, ".tools", "e2fsck", e2fsckPin.version, arch)
	e := &e2fsck{filepath.Join(dir, "e2fsck.static"), filepath.Join(dir, "copyright")}
	if e.check(arch) == nil {
		return e, nil
	}
	tmp, err := os.MkdirTemp("", "hearth-e2fsck-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	for _, d := range []string{"state", "lists/partial", "cache/archives/partial", "deb"} {
		if err := os.MkdirAll(filepath.Join(tmp, d), 0o755); err != nil {
			return nil, err
		}
	}
	o.logf("fetching e2fsck for %s with apt", arch)
	apt := func(args ...string) error {
		flags := []string{"-qq",
			"-o", "APT::Architecture=" + arch, "-o", "APT::Architectures=" + arch,
			"-o", "Dir::State=" + filepath.Join(tmp, "state"), "-o", "Dir::State::lists=" + filepath.Join(tmp, "lists"),
			"-o", "Dir::State::status=/dev/null", "-o", "Dir::Cache=" + filepath.Join(tmp, "cache"),
			"-o", "APT::Sandbox::User="}
		cmd := exec.CommandContext(ctx, "apt-get", append(flags, args...)...)
		cmd.Dir = filepath.Join(tmp, "deb")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, out)
		}
		return nil
	}
	err = errors.Join(apt("update"), apt("download", "e2fsck-static="+e2fsckPin.version))
	if err == nil {
		var debs []string
		debs, err = filepath.Glob(filepath.Join(tmp, "deb", "*.deb"))
		if err == nil && len(debs) == 1 {
			var out []byte
			if out, err = exec.CommandContext(ctx, "dpkg-deb", "-x", debs[0], filepath.Join(tmp, "x")).CombinedOutput(); err != nil {
				err = fmt.Errorf("dpkg-deb: %w\n%s", err, out)
			}
		}
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = errors.Join(
			copyFile(e.program, filepath.Join(tmp, "x/sbin/e2fsck.static"), 0o755),
			copyFile(e.copyright, filepath.Join(tmp, "x/usr/share/doc/e2fsck-static/copyright"), 0o644))
	}
	if err == nil {
		err = e.check(arch)
	}
	if err != nil {
		return nil, fmt.Errorf("the image needs e2fsck for %s: put sbin/e2fsck.static and its copyright file from Debian's package "+
			"e2fsck-static %s into %s (apt could not: %w)", arch, e2fsckPin.version, dir, err)
	}
	return e, nil
}

func (e *e2fsck) check(arch string) error {
	return errors.Join(checkSum(e.program, e2fsckPin.program[arch]), checkSum(e.copyright, e2fsckPin.legal))
}

func checkSum(path, want string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
		return fmt.Errorf("%s has SHA-256 %x, pinned is %s", path, sum, want)
	}
	return nil
}

func copyFile(to, from string, mode fs.FileMode) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, mode)
}
