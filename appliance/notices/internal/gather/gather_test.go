package gather

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func file(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDetect(t *testing.T) {
	const (
		twoClauses = "Redistribution and use in source and binary forms, with or without\n// modification, are permitted: 1. 2. THIS SOFTWARE IS PROVIDED"
		third      = " Neither the name of X nor the names may be used to endorse or promote products derived"
		grant      = "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted"
		mit        = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
	)
	for _, tt := range []struct{ name, text, want string }{
		{"Apache whole", file(t, "../../../../LICENSE"), "Apache-2.0"},
		{"LGPL whole", lgplText, "LGPL-2.1"},
		{"BIP-39", bip39Text, "MIT"},
		{"two clauses", twoClauses, "BSD-2-Clause"},
		{"three clauses", twoClauses + third, "BSD-3-Clause"},
		{"two and three", twoClauses + third + twoClauses, "BSD-2-Clause AND BSD-3-Clause"},
		{"no condition", grant + ".", "0BSD"},
		{"ISC", grant + ", provided that the above copyright notice", "ISC"},
		{"icons", grant + ", provided that\nthe above. " + mit, "ISC AND MIT"},
		{"MPL", "Mozilla Public License Version 2.0\n====\n1. Definitions\n 1.12 means the GNU General Public License, Version 2.0", "MPL-2.0"},
		{"MPL with commas", "Mozilla Public License, version 2.0\n\n1. Definitions\n", "MPL-2.0"},
		{"GPL", "GNU GENERAL PUBLIC LICENSE\n Version 2, June 1991", "GPL-2.0"},
		{"GPL 3", "GNU GENERAL PUBLIC LICENSE\n Version 3, 29 June 2007", "GPL-3.0"},
		{"AGPL", "GNU AFFERO GENERAL PUBLIC LICENSE\n Version 3, 19 November 2007", "AGPL-3.0"},
		{"CC0", "Creative Commons Legal Code\n\nCC0 1.0 Universal", "CC0-1.0"},
		{"named only", "This is free under the MIT license.", ""},
		{"ours alone", "All rights reserved.", ""},
	} {
		if got := expression(detect(tt.text)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestIncompatible(t *testing.T) {
	for expr, want := range map[string]string{
		"MIT": "", "Apache-2.0 AND BSD-3-Clause": "", "MPL-2.0": "",
		"GPL-2.0": "GPL-2.0", "GPL-3.0 AND MIT": "GPL-3.0", "LGPL-2.1": "LGPL-2.1", "": "",
	} {
		got := strings.Join(Incompatible(expr), " ")
		if expr == "" && len(Incompatible(expr)) == 0 {
			t.Error("no licence at all is taken for a good one")
		}
		if got != want {
			t.Errorf("%q: %q, want %q", expr, got, want)
		}
	}
}

// module makes a module's folder from names and texts.
func module(t *testing.T, files map[string]string) Module {
	t.Helper()
	m := Module{Path: "example.test/m", Version: "v1.0.0", Dir: t.TempDir(), Folders: []string{"a/b"}}
	for name, text := range files {
		p := filepath.Join(m.Dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestTexts(t *testing.T) {
	license, text, err := module(t, map[string]string{
		"LICENSE": bip39Text, "NOTICE": "made with care", "a/b/COPYING": "Apache License\nVersion 2.0, January 2004", "a/b/x.go": "package b",
		"other/LICENSE": "GNU GENERAL PUBLIC LICENSE\nVersion 2, June 1991", "LICENSE-LOGO": "a picture",
	}).texts()
	if err != nil {
		t.Fatal(err)
	}
	if license != "Apache-2.0 AND MIT" {
		t.Errorf("licence %q; the folder of an unlinked package must not count, that of a linked one must", license)
	}
	for _, want := range []string{"Marek Palatinus", "==== NOTICE ====", "made with care", "==== a/b/COPYING ===="} {
		if !strings.Contains(text, want) {
			t.Errorf("the text lacks %q", want)
		}
	}
	for name, files := range map[string]map[string]string{
		"no licence":      {"README": "hello"},
		"unknown licence": {"LICENSE": "You may look and not touch."},
		"only a notice":   {"a/b/LICENSE.txt": "mine"},
	} {
		if _, _, err := module(t, files).texts(); err == nil || !strings.Contains(err.Error(), "example.test/m") {
			t.Errorf("%s: error %v, want one that names the module", name, err)
		}
	}
}

// The image pins the same checker that the page describes.
func TestE2fsckVersion(t *testing.T) {
	raw, err := os.ReadFile("../../../../image/extra.go")
	if os.IsNotExist(err) {
		t.Log("there is no image/extra.go to compare with")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(raw), `"`+e2fsckVersion+`"`) {
		t.Errorf("image/extra.go does not pin %s", e2fsckVersion)
	}
}
