// Package check is `make check`: all that a change needs before it becomes a commit, in the order of what fails
// soonest. It prints one line per step and, when a step finds something, what it found; it runs every step either
// way, so that one run shows everything.
package check

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"
)

// generated are the paths that `make generate` writes, as git takes them.
var generated = []string{
	"webui/assets/*.js", "webui/assets/*.svg", "webui/assets/licenses.txt", "*_templ.go",
	"appliance/notices/notices.json.gz", "boards/README.md", "README.md",
}

// Run checks the tree in the current folder, the root of the repository, and says whether nothing was found.
func Run(ctx context.Context, out io.Writer) bool {
	ok := true
	for _, step := range []struct {
		name string
		do   func(context.Context) (found string, err error)
	}{
		{"format", format},
		{"vet", command("go", "vet", "./...")},
		{"staticcheck", command("go", "tool", "staticcheck", "./...")},
		{"generate", clean},
		{"imports", command("go", "test", "./appliance", "-run", "^(Test(Imports|Why|WebuiBuildsNoService|ServicesLeaveTheProcessAlone|TimeNow|WallTimes))$")},
		{"changed", changed},
	} {
		began := time.Now()
		found, err := step.do(ctx)
		word := "ok"
		if err != nil || found != "" {
			word, ok = "FAIL", false
		}
		fmt.Fprintf(out, "%-4s %7.1fs  %s\n", word, time.Since(began).Seconds(), step.name)
		if word != "ok" {
			if found = strings.TrimSpace(found); found != "" {
				fmt.Fprintln(out, found)
			}
			if err != nil {
				fmt.Fprintln(out, err)
			}
		}
	}
	return ok
}

// command runs a program whose exit status is the result.
func command(name string, args ...string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		b, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		if err != nil {
			return string(b), fmt.Errorf("%s: %w", strings.Join(append([]string{name}, args...), " "), err)
		}
		return "", nil
	}
}

func git(ctx context.Context, args ...string) (string, error) {
	var errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(errs.Bytes()))
	}
	return string(out), nil
}

// files lists what git knows or would add.
func files(ctx context.Context, patterns ...string) ([]string, error) {
	out, err := git(ctx, append([]string{"ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, f := range strings.Split(out, "\x00") {
		if _, err := os.Stat(f); f != "" && err == nil {
			list = append(list, f)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// format names the files that gofmt would write otherwise. Generated ones are as their generators write them.
func format(ctx context.Context) (string, error) {
	list, err := files(ctx, "*.go")
	if err != nil {
		return "", err
	}
	list = slices.DeleteFunc(list, func(f string) bool { return strings.HasSuffix(f, "_templ.go") })
	b, err := exec.CommandContext(ctx, "gofmt", append([]string{"-l"}, list...)...).CombinedOutput()
	if len(b) > 0 {
		return "gofmt -w would change:\n" + string(b), nil
	}
	return "", err
}

// clean says whether make generate changes anything: against the tree as it is, committed or not.
func clean(ctx context.Context) (string, error) {
	before, err := sums(ctx)
	if err != nil {
		return "", err
	}
	if found, err := command("make", "--no-print-directory", "generate")(ctx); err != nil {
		return found, err
	}
	after, err := sums(ctx)
	if err != nil {
		return "", err
	}
	if d := differ(before, after); len(d) > 0 {
		return "these were not as make generate writes them, and are now:\n" + strings.Join(d, "\n"), nil
	}
	return "", nil
}

func sums(ctx context.Context) (map[string][32]byte, error) {
	list, err := files(ctx, generated...)
	if err != nil {
		return nil, err
	}
	out := map[string][32]byte{}
	for _, f := range list {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		out[f] = sha256.Sum256(b)
	}
	return out, nil
}

func differ(a, b map[string][32]byte) []string {
	var out []string
	for f, sum := range a {
		if b[f] != sum {
			out = append(out, f)
		}
	}
	for f := range b {
		if _, ok := a[f]; !ok {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

// changed runs the short tests of the packages with files that are not as in main.
func changed(ctx context.Context) (string, error) {
	base, err := git(ctx, "merge-base", "HEAD", "main")
	if err != nil {
		base = "HEAD" // a clone without main
	}
	out, err := git(ctx, "diff", "--name-only", strings.TrimSpace(base))
	if err != nil {
		return "", err
	}
	added, err := git(ctx, "ls-files", "--others", "--exclude-standard")
	if err != nil {
		return "", err
	}
	list := folders(out + added)
	list = slices.DeleteFunc(list, func(f string) bool {
		entries, _ := os.ReadDir(f)
		return !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return strings.HasSuffix(e.Name(), "_test.go") })
	})
	if len(list) == 0 {
		return "", nil
	}
	return command("go", append([]string{"test", "-short", "-p", "2"}, list...)...)(ctx)
}

// folders are the packages that a list of changed files belongs to; a file in testdata belongs to the one above.
func folders(list string) []string {
	var out []string
	for _, f := range strings.Fields(list) {
		dir := path.Dir(f)
		if before, _, ok := strings.Cut(dir+"/", "/testdata/"); ok {
			dir = before
		}
		if dir != "." {
			out = append(out, "./"+dir)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
