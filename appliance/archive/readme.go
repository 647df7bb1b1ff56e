package archive

import (
	"fmt"
	"strings"
)

// told says in plain words what a file is.
var told = map[string]string{
	LogFile:             "The signed record of who belongs to the household: every change since it began.\nThis is the one that counts; \"hearth import\" reads it. Its bytes are described in\nHearth's source, in services/identity/internal/logfile and record.",
	RecordsFile:         "The same record as a list in JSON, oldest first: who wrote what down, when, and\nwhether it counts.",
	MembersFile:         "Who belongs now, as lists in JSON: people, their devices, the boxes, and friends.",
	ContactsFile:        "The households that are friends, as address cards (vCard 4.0) that address books\nread.",
	DataFile("account"): "How people sign in: their passwords as hashes, app passwords as hashes, and the\nlist of what happened. KEEP THIS EXPORT LOCKED AWAY: whoever has it can try to\nguess the passwords.",
	DataFile("dns"):     "The names on the Internet that may point home, in JSON.",
	DataFile("witness"): "What friends' boxes last showed of their records, in JSON. It belongs to the box\nthat made this export.",
}

// readme says in plain words what is inside. It is UTF-8.
func readme(m Manifest, names []string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "This is an export of the household %q (%s).\n", m.Household.Name, m.Household.Domain)
	fmt.Fprintf(&b, "The box %q made it on %s.\n\n", m.Box.Name, m.Made.Format("2 January 2006 at 15:04 UTC"))
	if m.Incomplete {
		b.WriteString("IT IS NOT COMPLETE: the box could not read all of its own record of who belongs.\nKeep an earlier export as well, if there is one.\n\n")
	}
	b.WriteString("It is a plain tar file. What it holds can be read with any program:\n\n")
	about := func(name, text string) {
		fmt.Fprintf(&b, "%s\n    %s\n\n", name, strings.ReplaceAll(text, "\n", "\n    "))
	}
	about(ManifestFile, "Whose export this is, when it was made, and of each file its length and its\nSHA-256 hash, in JSON.")
	signIn := false
	for _, n := range names {
		signIn = signIn || n == DataFile("account")
		text := told[n]
		if text == "" {
			text = "What that part of the box keeps."
		}
		about(n, text)
	}
	b.WriteString("Not in here: private keys, the 24 recovery words, where people are signed in, and\npeople's files.")
	if !signIn {
		b.WriteString(" Neither are passwords: after an import to a new box an owner gives\npeople new ones.")
	}
	b.WriteString(`

To bring it back on a box of this household:

    hearth import FILE

Who belongs is put together of the export and of what the box knows: nobody comes
back who was removed since. With --replace the other files take the place of what
the box has.

When no box is left, set up a new one, leave it unclaimed, and run on it

    hearth import FILE --words-file WORDS

with the 24 recovery words in the file WORDS.
`)
	return []byte(b.String())
}
