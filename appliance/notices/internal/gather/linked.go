package gather

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"hearth.alt/boards"
)

// Module is a module with packages in a program we ship.
type Module struct {
	Path, Version string
	Dir           string   // where its source lies
	Folders       []string // of the linked packages below Dir, with slashes, sorted
}

// Linked returns the modules linked into the programs in root's appliance/cmd and the programs beside them, for every
// processor a board has, by path. Nothing of the standard library and nothing of ours is among them.
func Linked(root string) ([]Module, error) {
	programs := slices.Clone(boards.Programs)
	ours, err := filepath.Glob(filepath.Join(root, "appliance", "cmd", "*", "main.go"))
	if err != nil {
		return nil, err
	}
	for _, p := range ours {
		programs = append(programs, "./appliance/cmd/"+filepath.Base(filepath.Dir(p)))
	}
	found := map[string]*Module{}
	for _, arch := range []string{"arm64", "amd64"} {
		if err := listModules(root, arch, programs, found); err != nil {
			return nil, err
		}
	}
	out := make([]Module, 0, len(found))
	for _, m := range found {
		slices.Sort(m.Folders)
		m.Folders = slices.Compact(m.Folders)
		out = append(out, *m)
	}
	slices.SortFunc(out, func(a, b Module) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

func listModules(root, arch string, programs []string, found map[string]*Module) error {
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=ImportPath,Dir,Module,Standard"}, programs...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("listing what is linked for %s: %w: %s", arch, err, bytes.TrimSpace(errs.Bytes()))
	}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir string
			Standard        bool
			Module          *goModule
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("listing what is linked for %s: %w", arch, err)
		}
		if p.Standard || p.Module == nil || p.Module.Main {
			continue
		}
		m := found[p.Module.Path]
		if m == nil {
			dir, version := p.Module.place()
			m = &Module{Path: p.Module.Path, Version: version, Dir: dir}
			found[m.Path] = m
		}
		rel, err := filepath.Rel(m.Dir, p.Dir)
		if err != nil {
			return err
		}
		m.Folders = append(m.Folders, filepath.ToSlash(rel))
	}
}

// goModule is what go list and go mod download say of a module.
type goModule struct {
	Path, Version, Dir string
	Main               bool
	Replace            *goModule
}

// place returns where the module's source really is and its version, after replace lines.
func (m *goModule) place() (dir, version string) {
	if m.Replace != nil {
		return m.Replace.Dir, m.Replace.Version
	}
	return m.Dir, m.Version
}

// download returns a module whose files an image carries though none of its packages are linked.
func download(root, modulePath string) (*goModule, error) {
	list := exec.Command("go", "list", "-m", "-json", modulePath)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("finding %s: %w", modulePath, err)
	}
	var m goModule
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, fmt.Errorf("finding %s: %w", modulePath, err)
	}
	if m.Dir != "" {
		return &m, nil
	}
	get := exec.Command("go", "mod", "download", "-json", modulePath+"@"+m.Version)
	get.Dir = root
	if out, err = get.Output(); err != nil {
		return nil, fmt.Errorf("fetching %s: %w", modulePath, err)
	}
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, fmt.Errorf("fetching %s: %w", modulePath, err)
	}
	return &m, nil
}

// legal says whether a file of that name carries a licence or a notice; a notice need not be a licence we know.
func legal(name string) (licence, notice bool) {
	n := strings.ToLower(name)
	switch ext := path.Ext(n); ext {
	case ".go", ".s", ".c", ".h", ".json", ".yaml", ".yml", ".html", ".sh", ".tmpl":
		return false, false
	}
	if strings.Contains(n, "logo") {
		return false, false // of a picture in the source, which no program carries (modernc.org/memory)
	}
	licence = strings.Contains(n, "license") || strings.Contains(n, "licence") || strings.HasPrefix(n, "copying") || strings.HasPrefix(n, "unlicense")
	notice = strings.HasPrefix(n, "notice") || strings.HasPrefix(n, "patents")
	return licence, notice
}

// texts gathers the licence files of the linked packages' folders and those above them, up to the module's own.
func (m Module) texts() (license, text string, err error) {
	folders := map[string]bool{}
	for _, f := range append([]string{"."}, m.Folders...) {
		for ; !folders[f]; f = path.Dir(f) {
			folders[f] = true
		}
	}
	names := make([]string, 0, len(folders))
	for f := range folders {
		names = append(names, f)
	}
	slices.Sort(names)
	var ids, parts []string
	seen := map[string]bool{}
	for _, f := range names {
		entries, err := os.ReadDir(filepath.Join(m.Dir, f))
		if err != nil {
			return "", "", fmt.Errorf("reading the licence of %s: %w", m.Path, err)
		}
		for _, e := range entries {
			isLicence, isNotice := legal(e.Name())
			if !e.Type().IsRegular() || !isLicence && !isNotice {
				continue
			}
			name := path.Join(f, e.Name())
			raw, err := os.ReadFile(filepath.Join(m.Dir, name))
			if err != nil {
				return "", "", fmt.Errorf("reading the licence of %s: %w", m.Path, err)
			}
			found := detect(string(raw))
			if isLicence && len(found) == 0 && overrides[m.Path].license == "" {
				return "", "", fmt.Errorf("%s: %s is not a licence this program knows; read it, then teach spdx.go or add an override", m.Path, name)
			}
			ids = append(ids, found...)
			t := tidy(string(raw))
			if seen[t] {
				continue
			}
			seen[t] = true
			if len(parts) > 0 || f != "." {
				t = "==== " + name + " ====\n\n" + seam + t
			}
			parts = append(parts, t)
		}
	}
	if len(parts) == 0 {
		return "", "", fmt.Errorf("%s has no licence file; without one it must not be linked", m.Path)
	}
	license = expression(ids)
	if o := overrides[m.Path]; o.license != "" {
		license = o.license
	}
	return license, strings.Join(parts, seam+"\n"+seam), nil
}

// overrides are modules whose files a matcher reads wrongly, each read by a person.
var overrides = map[string]struct{ license, why string }{
	"kernel.org/pub/linux/libs/security/libcap/psx": {
		"BSD-3-Clause", "one or the other of BSD-3-Clause and GPL-2.0, by its first lines; we take the first",
	},
}

func expression(ids []string) string {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	return strings.Join(slices.Compact(ids), " AND ")
}

// tidy makes equal texts equal: line ends, spaces at ends of lines, blank lines around.
func tidy(text string) string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " \t")
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n\ufeff\f") + "\n"
}
