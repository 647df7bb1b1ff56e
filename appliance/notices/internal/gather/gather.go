// Package gather finds out whose software a Hearth image carries and under which licences, and fails rather than
// guess: a licence it does not know, a module without one, a web asset whose text is older than its lock file.
package gather

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"go/version"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"hearth.alt/appliance/notices"
)

// The texts that no module brings along: what Debian's package says of e2fsck, and the LGPL as its authors publish it.
var (
	//go:embed texts/e2fsprogs.txt
	e2fsprogsText string
	//go:embed texts/lgpl-2.1.txt
	lgplText string
)

// bip39 is the word list of recovery and claim words.
const bip39Text = `Copyright (c) 2013 Marek Palatinus, Pavol Rusnak, Aaron Voisine, Sean Bowe

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
`

// offer is the written offer of GPL-2.0 section 3(b) and LGPL-2.1 section 6(c); places is where the same source lies
// today.
func offer(name, places string) string {
	return fmt.Sprintf(`Offer of source

%s is given to you as a program, under the licence below. You may have its complete source, with what is needed to
build it. Today it lies here:

%s
For at least three years from the day you received this copy, whoever gave it to you will also, on request and for no
more than the cost of sending it, give anyone the same source on a usual medium. How to ask is written in the README
of Hearth's source under "Source of what we pass on".

`, name, places)
}

// Gather returns everything in the image that others wrote; root is the root of the repository. The result depends
// on go.mod, the lock file and the source tree only.
func Gather(root string) ([]notices.Notice, error) {
	var out []notices.Notice
	modules, err := Linked(root)
	if err != nil {
		return nil, err
	}
	for _, m := range modules {
		license, text, err := m.texts()
		if err != nil {
			return nil, err
		}
		if bad := Incompatible(license); len(bad) > 0 {
			return nil, fmt.Errorf("%s is under %s, which must not be linked into Hearth", m.Path, strings.Join(bad, " and "))
		}
		out = append(out, notices.Notice{
			Name: m.Path, Version: m.Version, License: license, Part: notices.Program, Text: text,
			Source: "https://pkg.go.dev/" + m.Path + "@" + m.Version,
		})
	}
	for _, more := range []func(string) ([]notices.Notice, error){golang, web, data, kernels, firmware, bootLoader, tools} {
		list, err := more(root)
		if err != nil {
			return nil, err
		}
		out = append(out, list...)
	}
	order := notices.Parts()
	slices.SortFunc(out, func(a, b notices.Notice) int {
		return cmp.Or(slices.Index(order, a.Part)-slices.Index(order, b.Part), strings.Compare(a.Name, b.Name))
	})
	return out, nil
}

// seam stands in a Text between parts that other notices may share, until Pack takes them apart.
const seam = "\x00"

// Pack gives the list its stored form.
func Pack(list []notices.Notice) ([]byte, error) {
	var f notices.File
	at := map[string]int{}
	for _, n := range list {
		e := notices.Entry{Name: n.Name, Version: n.Version, License: n.License, Source: n.Source, Part: n.Part}
		for _, text := range strings.Split(n.Text, seam) {
			i, ok := at[text]
			if !ok {
				i = len(f.Texts)
				at[text] = i
				f.Texts = append(f.Texts, text)
			}
			e.Text = append(e.Text, i)
		}
		f.Notices = append(f.Notices, e)
	}
	return json.MarshalIndent(f, "", " ")
}

// golang is the language's run time and library. Its version is the language version of go.mod's toolchain line of
// work ("1.26"), not the patch release that happens to be installed.
func golang(string) ([]notices.Notice, error) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("finding Go's licence: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(goroot)), "LICENSE"))
	if err != nil {
		return nil, fmt.Errorf("reading Go's licence: %w", err)
	}
	return []notices.Notice{{
		Name: "Go", Version: strings.TrimPrefix(version.Lang(runtime.Version()), "go"), License: "BSD-3-Clause",
		Source: "https://go.dev/dl/", Part: notices.Program, Text: tidy(string(text)),
	}}, nil
}

// block is the head of one package's text in webui/assets/licenses.txt.
var block = regexp.MustCompile(`(?m)^==== (\S+) (\S+) ====$`)

// web is what webui/assets was made of: the packages of the lock file that are not only tools, with the texts that
// were copied beside the assets.
func web(root string) ([]notices.Notice, error) {
	raw, err := os.ReadFile(filepath.Join(root, "webui/assets/npm/package-lock.json"))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var lock struct {
		Packages map[string]struct {
			Version string
			Dev     bool
		}
	}
	if err := json.Unmarshal(raw, &lock); err != nil {
		return nil, fmt.Errorf("reading webui/assets/npm/package-lock.json: %w", err)
	}
	all, err := os.ReadFile(filepath.Join(root, "webui/assets/licenses.txt"))
	if err != nil {
		return nil, err
	}
	texts := map[string]string{}
	heads := block.FindAllStringSubmatchIndex(string(all), -1)
	for i, h := range heads {
		end := len(all)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		texts[string(all[h[2]:h[3]])+" "+string(all[h[4]:h[5]])] = tidy(string(all[h[1]:end]))
	}
	var out []notices.Notice
	for key, p := range lock.Packages {
		name, ok := strings.CutPrefix(key, "node_modules/")
		if !ok || p.Dev || name == "esbuild" || strings.HasPrefix(name, "@esbuild/") {
			continue // esbuild bundles and is not in the bundle
		}
		text := texts[name+" "+p.Version]
		if text == "" {
			return nil, fmt.Errorf("webui/assets/licenses.txt has no text for %s %s: run make generate", name, p.Version)
		}
		ids := detect(text)
		if len(ids) == 0 {
			return nil, fmt.Errorf("the licence of the npm package %s is not one this program knows", name)
		}
		out = append(out, notices.Notice{
			Name: name, Version: p.Version, License: expression(ids), Part: notices.Web, Text: text,
			Source: "https://www.npmjs.com/package/" + name + "/v/" + p.Version,
		})
	}
	return out, nil
}

func data(string) ([]notices.Notice, error) {
	return []notices.Notice{{
		Name: "BIP-39 English word list", Version: "2013", License: "MIT", Part: notices.Data, Text: bip39Text,
		Source: "https://github.com/bitcoin/bips/tree/master/bip-0039",
	}}, nil
}

// kernels are Linux for the boards, as gokrazy builds it.
func kernels(root string) ([]notices.Notice, error) {
	var out []notices.Notice
	for _, k := range []string{"amd64", "arm64", "rpi"} {
		name := "github.com/gokrazy/kernel." + k
		m, err := download(root, name)
		if err != nil {
			return nil, err
		}
		dir, version := m.place()
		text, err := os.ReadFile(filepath.Join(dir, "LICENSE.linux"))
		if err != nil {
			return nil, err
		}
		url, err := os.ReadFile(filepath.Join(dir, "_build", "upstream-url.txt"))
		if err != nil {
			return nil, err
		}
		upstream := strings.TrimSpace(string(url))
		if !slices.Equal(detect(string(text)), []string{"GPL-2.0"}) {
			return nil, fmt.Errorf("%s: LICENSE.linux is not the GPL, version 2", name)
		}
		out = append(out, notices.Notice{
			Name: "Linux (" + name + ")", Version: version, License: "GPL-2.0-only WITH Linux-syscall-note", Source: upstream, Part: notices.Kernel,
			Text: offer("Linux", "  "+upstream+"\n  patches, configuration and build program: https://"+name+" at "+version+", folder _build\n") + seam + tidy(string(text)),
		})
	}
	return out, nil
}

// firmware is what a Raspberry Pi runs before Linux.
func firmware(root string) ([]notices.Notice, error) {
	var out []notices.Notice
	for _, f := range []struct{ module, file, title string }{
		{"github.com/gokrazy/firmware", "LICENSE.broadcom", "Raspberry Pi firmware"},
	} {
		m, err := download(root, f.module)
		if err != nil {
			return nil, err
		}
		dir, version := m.place()
		text, err := os.ReadFile(filepath.Join(dir, f.file))
		if err != nil {
			return nil, err
		}
		if !strings.Contains(plain(string(text)), "redistribution and use in binary form without modification are permitted") {
			return nil, fmt.Errorf("%s: %s does not say what it used to; read it", f.module, f.file)
		}
		out = append(out, notices.Notice{
			Name: f.title + " (" + f.module + ")", Version: version, License: "LicenseRef-Raspberry-Pi-firmware",
			Source: "https://" + f.module, Part: notices.Firmware, Text: tidy(string(text)),
		})
	}
	return out, nil
}

// bootLoader is systemd-boot, which lies inside gokrazy/tools in a folder named for its version.
func bootLoader(root string) ([]notices.Notice, error) {
	const module = "github.com/gokrazy/tools"
	m, err := download(root, module)
	if err != nil {
		return nil, err
	}
	dir, version := m.place()
	found, err := filepath.Glob(filepath.Join(dir, "third_party", "systemd-*"))
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%s has %d folders third_party/systemd-*, want one", module, len(found))
	}
	full := strings.TrimPrefix(filepath.Base(found[0]), "systemd-") // upstream's version and the distribution's build
	upstream, _, _ := strings.Cut(full, "-")
	source := "https://github.com/systemd/systemd-stable/archive/refs/tags/v" + upstream + ".tar.gz"
	return []notices.Notice{{
		Name: "systemd-boot", Version: full, License: "LGPL-2.1-or-later", Source: source, Part: notices.Boot,
		Text: offer("systemd-boot", "  "+source+"\n  how it was built: https://gitlab.archlinux.org/archlinux/packaging/packages/systemd at "+full+
			"\n  the program as it came to us: https://"+path.Join(module, "third_party", filepath.Base(found[0]))+" at "+version+"\n") + seam + tidy(lgplText),
	}}, nil
}

// e2fsckVersion is the Debian package whose sbin/e2fsck.static the image carries; image/extra.go pins the same, and a
// test compares.
const e2fsckVersion = "1.47.0-2+b2"

// tools are separate programs in the image.
func tools(root string) ([]notices.Notice, error) {
	m, err := download(root, "github.com/gokrazy/kernel.arm64")
	if err != nil {
		return nil, err
	}
	dir, _ := m.place()
	linux, err := os.ReadFile(filepath.Join(dir, "LICENSE.linux"))
	if err != nil {
		return nil, err
	}
	source, _, _ := strings.Cut(e2fsckVersion, "+b")
	places := "  https://snapshot.debian.org/package/e2fsprogs/" + source + "/\n" +
		"  the C library linked into it (LGPL-2.1-or-later): https://snapshot.debian.org/package/glibc/2.36-9/\n" +
		"  libblkid and libuuid linked into it (LGPL-2.1-or-later, BSD-3-Clause): https://snapshot.debian.org/package/util-linux/2.38.1-5/\n"
	return []notices.Notice{{
		Name: "e2fsck (e2fsck-static)", Version: e2fsckVersion, License: "GPL-2.0-only AND LGPL-2.0-only AND LGPL-2.1-or-later AND BSD-3-Clause AND MIT", Part: notices.Tool,
		Source: "https://snapshot.debian.org/package/e2fsprogs/" + source + "/",
		Text:   offer("e2fsck", places) + tidy(e2fsprogsText) + "\n==== GPL-2, behind Linux's own note; LGPL-2.1 ====\n\n" + seam + tidy(string(linux)) + seam + "\n" + seam + tidy(lgplText),
	}}, nil
}
