//go:build ignore

// Generate renews what is copied or bundled from npm packages into this folder. Run it from the root of the
// repository, after `npm --prefix webui/assets/npm ci --ignore-scripts`:
//
//	go run webui/assets/generate.go
//
// It writes icons.svg (the sprite: our own signs and the few icons of lucide-static that are used), htmx.js, noble.js
// (one ES module for the sealed claim), words.txt (a word a line, for the same) and licenses.txt. The result is committed, so that go build alone builds Hearth.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/tyler-smith/go-bip39"
)

const (
	out     = "webui/assets"
	modules = "webui/assets/npm/node_modules"
)

// icons are those that components.Icon may be asked for; a test of components compares.
var icons = []string{
	"check", "chevron-right", "circle-alert", "download", "file-down", "file-text", "flame",
	"globe", "handshake", "history", "house", "key-round", "laptop", "log-out", "menu",
	"network", "plus", "printer", "qr-code", "refresh-cw", "route", "scroll-text", "shield-check", "smartphone",
	"speaker", "ticket-check", "trash-2", "tv", "user-plus", "users",
}

// signs are Hearth's own: the five states (LOOK.md, section 3), each a shape of its own.
const signs = `<symbol id="s-good" viewBox="0 0 24 24"><circle cx="12" cy="12" r="10" fill="currentColor"/><path d="m7.5 12.5 3 3 6-6.5" fill="none" stroke="var(--paper)" stroke-width="2.3" stroke-linecap="round" stroke-linejoin="round"/></symbol>
<symbol id="s-care" viewBox="0 0 24 24"><path d="M12 2.5 23 21.5H1Z" fill="currentColor" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/><path d="M12 9v6M12 18.3v.2" stroke="var(--paper)" stroke-width="2.3" stroke-linecap="round"/></symbol>
<symbol id="s-act" viewBox="0 0 24 24"><path d="M7.5 1.5h9l6 6v9l-6 6h-9l-6-6v-9Z" fill="currentColor"/><path d="m8 8 8 8M16 8l-8 8" stroke="var(--paper)" stroke-width="2.5" stroke-linecap="round"/></symbol>
<symbol id="s-wait" viewBox="0 0 24 24"><circle cx="12" cy="12" r="9.5" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="4 3.2"/><path d="M12 7v5.5l3.5 2" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/></symbol>
<symbol id="s-off" viewBox="0 0 24 24"><circle cx="12" cy="12" r="9.5" fill="none" stroke="currentColor" stroke-width="2"/><path d="M8 12h8" stroke="currentColor" stroke-width="2" stroke-linecap="round"/></symbol>
`

// nobleEntry is what seal.js imports from ./noble.js.
const nobleEntry = `export { x25519 } from "@noble/curves/ed25519.js";
export { chacha20poly1305 } from "@noble/ciphers/chacha.js";
export { sha256 } from "@noble/hashes/sha2.js";
export { hkdf } from "@noble/hashes/hkdf.js";
export { hmac } from "@noble/hashes/hmac.js";
`

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatalf("renewing the web assets: %v", err)
	}
}

func run() error {
	if _, err := os.Stat(modules); err != nil {
		return fmt.Errorf("%s is missing: run npm --prefix webui/assets/npm ci --ignore-scripts", modules)
	}
	if err := sprite(); err != nil {
		return err
	}
	if err := htmx(); err != nil {
		return err
	}
	if err := noble(); err != nil {
		return err
	}
	words := strings.Join(bip39.GetWordList(), "\n") + "\n"
	if err := os.WriteFile(filepath.Join(out, "words.txt"), []byte(words), 0o644); err != nil {
		return err
	}
	return licenses()
}

var (
	comment = regexp.MustCompile(`(?s)<!--.*?-->`)
	inner   = regexp.MustCompile(`(?s)<svg[^>]*>(.*)</svg>`)
	spaces  = regexp.MustCompile(`\s+`)
	between = regexp.MustCompile(`>\s+<`)
)

func sprite() error {
	var b bytes.Buffer
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg">` + "\n" + signs)
	sort.Strings(icons)
	for _, name := range icons {
		src, err := os.ReadFile(filepath.Join(modules, "lucide-static/icons", name+".svg"))
		if err != nil {
			return err
		}
		m := inner.FindSubmatch(comment.ReplaceAll(src, nil))
		if m == nil {
			return fmt.Errorf("icon %s is not an SVG drawing", name)
		}
		body := between.ReplaceAllString(strings.TrimSpace(spaces.ReplaceAllString(string(m[1]), " ")), "><")
		fmt.Fprintf(&b, `<symbol id="i-%s" viewBox="0 0 24 24">%s</symbol>`+"\n", name, strings.ReplaceAll(body, " />", "/>"))
	}
	b.WriteString("</svg>\n")
	return os.WriteFile(filepath.Join(out, "icons.svg"), b.Bytes(), 0o644)
}

func htmx() error {
	src, err := os.ReadFile(filepath.Join(modules, "htmx.org/dist/htmx.min.js"))
	if err != nil {
		return err
	}
	// The map is not shipped; without this line browsers' tools would ask for it.
	src = regexp.MustCompile(`(?m)^//# sourceMappingURL=.*\n?`).ReplaceAll(src, nil)
	return os.WriteFile(filepath.Join(out, "htmx.js"), src, 0o644)
}

func noble() error {
	cmd := exec.Command("node_modules/.bin/esbuild", "--bundle", "--format=esm", "--target=es2020", "--minify",
		"--legal-comments=inline", "--loader=js")
	cmd.Dir = filepath.Join(out, "npm")
	cmd.Stdin = strings.NewReader(nobleEntry)
	cmd.Stderr = os.Stderr
	js, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("bundling noble.js: %w", err)
	}
	return os.WriteFile(filepath.Join(out, "noble.js"), js, 0o644)
}

func licenses() error {
	var b bytes.Buffer
	for _, p := range []string{"htmx.org", "lucide-static", "@noble/ciphers", "@noble/curves", "@noble/hashes"} {
		pkg, err := os.ReadFile(filepath.Join(modules, p, "package.json"))
		if err != nil {
			return err
		}
		version := regexp.MustCompile(`"version":\s*"([^"]+)"`).FindSubmatch(pkg)
		text, err := os.ReadFile(filepath.Join(modules, p, "LICENSE"))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "==== %s %s ====\n\n%s\n\n", p, version[1], bytes.TrimSpace(text))
	}
	return os.WriteFile(filepath.Join(out, "licenses.txt"), b.Bytes(), 0o644)
}
