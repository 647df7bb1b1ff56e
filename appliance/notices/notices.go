// Package notices holds what the page of third-party notices shows: every piece of software in a Hearth image that
// somebody else wrote, its licence with the text, and where its source is. The page is a duty (each licence asks
// for its text to travel along; the GPL asks for an offer of source) and a thank-you.
//
// The list is notices.json.gz, generated from what is really linked and packed:
//
//	go run ./appliance/notices/generate
//
// Its form is JSON, compressed by gzip: {"texts": [text...], "notices": [{name, version, license, source, part,
// text}...]}, where text lists indices into texts, to be read one behind
// the other, so that equal texts are stored once. The list is read together with
// the program it is embedded in and carries no version.
package notices

//go:generate go run ./generate

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

//go:embed notices.json.gz
var packed []byte

// Part says where in an image a piece of software is.
type Part string

// The parts, in the order of the page.
const (
	Program  Part = "program"  // linked into our programs and those beside them
	Web      Part = "web"      // in the pages
	Data     Part = "data"     // tables that a program carries
	Kernel   Part = "kernel"   // Linux
	Firmware Part = "firmware" // of the board, run before Linux
	Boot     Part = "boot"     // the boot loader
	Tool     Part = "tool"     // a separate program in the image
)

// Parts lists them in the order of the page.
func Parts() []Part { return []Part{Program, Web, Data, Kernel, Firmware, Boot, Tool} }

// Notice is one piece of software that others wrote.
type Notice struct {
	Name    string // a module's path, a package's or a program's name
	Version string
	License string // an SPDX licence expression (SPDX 2.3, annex D)
	Source  string // URL of the page or the source
	Part    Part
	Text    string // licence texts and notices in full; ends in a line break
}

// File is the form of notices.json.
type File struct {
	Texts   []string `json:"texts"`
	Notices []Entry  `json:"notices"`
}

// Entry is a Notice whose text is the Texts of its File at these places, in this order.
type Entry struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	License string `json:"license"`
	Source  string `json:"source"`
	Part    Part   `json:"part"`
	Text    []int  `json:"text"`
}

// All returns every notice, by part and name. It unpacks the list anew at each call, about half a megabyte, and keeps
// nothing: the page is rarely asked for. The error is about the build, never about the box.
func All() ([]Notice, error) {
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("reading the notices: %w", err)
	}
	text, err := io.ReadAll(zr)
	if err != nil {
		return nil, fmt.Errorf("reading the notices: %w", err)
	}
	var f File
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("reading the notices: %w", err)
	}
	out := make([]Notice, len(f.Notices))
	for i, e := range f.Notices {
		var text strings.Builder
		for _, at := range e.Text {
			if at < 0 || at >= len(f.Texts) {
				return nil, fmt.Errorf("reading the notices: %s names a text that is not there", e.Name)
			}
			text.WriteString(f.Texts[at])
		}
		out[i] = Notice{e.Name, e.Version, e.License, e.Source, e.Part, text.String()}
	}
	return out, nil
}
