package gather

import (
	"regexp"
	"slices"
	"strings"
)

// letters keeps what a licence says and drops how it is set: case, breaks, quotes, comment marks, list marks.
var letters = regexp.MustCompile(`[^a-z0-9.]+`)

func plain(text string) string {
	return " " + strings.ReplaceAll(letters.ReplaceAllString(strings.ToLower(text), " "), ". ", " ") + " "
}

// marks are phrases that only the licence itself has; a licence that is merely named is not detected.
var marks = []struct{ id, phrase string }{
	{"Apache-2.0", "apache license version 2.0 january 2004"},
	{"Apache-2.0", "licensed under the apache license version 2.0 the license you may not use"},
	{"MIT", "permission is hereby granted free of charge to any person obtaining a copy"},
	{"MPL-2.0", "mozilla public license version 2.0 1 definitions"},
	{"GPL-2.0", "gnu general public license version 2 june 1991"},
	{"GPL-3.0", "gnu general public license version 3 29 june 2007"},
	{"LGPL-2.0", "gnu library general public license version 2 june 1991"},
	{"LGPL-2.1", "gnu lesser general public license version 2.1 february 1999"},
	{"LGPL-3.0", "gnu lesser general public license version 3 29 june 2007"},
	{"AGPL-3.0", "gnu affero general public license version 3 19 november 2007"},
	{"CC0-1.0", "cc0 1.0 universal"},
	{"Unlicense", "this is free and unencumbered software released into the public domain"},
	{"blessing", "may you do good and not evil"}, // SQLite's sources
	{"blessing", "all of the code and documentation in sqlite has been dedicated to the public domain"},
}

const (
	bsd     = "redistribution and use in source and binary forms"
	endorse = " endorse or promote products "
	isc     = "permission to use copy modify and or distribute this software for any purpose with or without fee is hereby granted"
	isc2    = "permission to use copy modify and distribute this software for any purpose with or without fee is hereby granted"
)

// detect returns the SPDX identifiers of the licences whose texts stand in text, sorted; none when it knows none.
func detect(text string) []string {
	p := plain(text)
	found := map[string]bool{}
	for _, m := range marks {
		if strings.Contains(p, m.phrase) {
			found[m.id] = true
		}
	}
	// Each BSD text begins with the same words; three clauses end with the one about endorsement.
	for i, part := range strings.Split(p, bsd) {
		switch {
		case i == 0:
		case strings.Contains(part, endorse):
			found["BSD-3-Clause"] = true
		default:
			found["BSD-2-Clause"] = true
		}
	}
	for _, begin := range []string{isc, isc2} {
		for i, part := range strings.Split(p, begin) {
			switch {
			case i == 0:
			case strings.HasPrefix(strings.TrimSpace(part), "provided that"):
				found["ISC"] = true
			default:
				found["0BSD"] = true
			}
		}
	}
	out := make([]string, 0, len(found))
	for id := range found {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// linkable are the licences whose code may be linked into a program under Apache-2.0 and shipped as one file: each
// asks for its notice at most. MPL-2.0 asks besides for the source of its own files, which Source names. The GPL and
// LGPL ask for more than a static program can give.
var linkable = map[string]bool{
	"0BSD": true, "Apache-2.0": true, "BSD-2-Clause": true, "BSD-3-Clause": true, "CC0-1.0": true, "ISC": true,
	"MIT": true, "MPL-2.0": true, "Unlicense": true, "blessing": true,
}

// Incompatible returns the licences of an expression that must not be linked into our programs.
func Incompatible(expression string) []string {
	var out []string
	for _, id := range strings.Split(expression, " AND ") {
		if !linkable[id] {
			out = append(out, id)
		}
	}
	return out
}
