// Package assets holds what browsers load besides the pages: one stylesheet, one sprite of icons, the mark, and a few
// scripts that only smooth. All of it is embedded.
//
// Every file is served below /assets/<hash>/, where hash is made of all files together: answers may be cached for
// ever, a change of any file changes every address, and the scripts may import one another by their plain names.
//
// hearth.css, mark.svg, busy.js, fragment.js and seal.js are written here by hand. icons.svg, htmx.js, noble.js and licenses.txt are
// renewed by generate.go from the packages that npm/package-lock.json pins, words.txt (BIP-39, English) from the Go
// module that the box reads words with.
package assets

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed *.css *.svg *.js licenses.txt words.txt
var files embed.FS

// Prefix is where assets are served.
const Prefix = "/assets/"

var types = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
	".txt": "text/plain; charset=utf-8",
}

var hash = func() string {
	h := sha256.New()
	entries, err := files.ReadDir(".")
	if err != nil {
		panic("reading embedded assets: " + err.Error())
	}
	for _, e := range entries {
		b, err := files.ReadFile(e.Name())
		if err != nil {
			panic("reading embedded assets: " + err.Error())
		}
		sum := sha256.Sum256(b)
		h.Write([]byte(e.Name()))
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}()

// Path returns where the file called name is served, and "" when there is no such file.
func Path(name string) string {
	if _, err := fs.Stat(files, name); err != nil {
		return ""
	}
	return Prefix + hash + "/" + name
}

// Bytes returns the file called name; the slice must not be changed. It panics when there is none.
func Bytes(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err)
	}
	return b
}

// Names lists all files.
func Names() []string {
	entries, _ := files.ReadDir(".")
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Name()
	}
	return out
}

// ServeHTTP answers GET and HEAD below Prefix. An address with an older hash is not found, rather than answered with
// other content than it promises for ever.
func ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, Prefix+hash+"/")
	if !ok || strings.Contains(rest, "/") {
		http.NotFound(w, r)
		return
	}
	b, err := files.ReadFile(rest)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(rest)])
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	http.ServeContent(w, r, rest, time.Time{}, bytes.NewReader(b))
}
