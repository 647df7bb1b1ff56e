// Package messages says what the house has to say in the reader's language.
//
// A language is one file, <tag>.json: an object of key and message. A message is one whole sentence or label, never
// a part glued to others, in a small subset of ICU MessageFormat:
//
//	{name}                                       an argument; see Printer for how each type is written
//	{n, words} {n, Words}                        a number up to twelve in words, Words with a capital
//	{n, bytes}                                   an amount of memory or disk, "214 GB"
//	{at, time} {at, date} {at, day} {at, ago}    "14:31"; "12 March 2026"; "today, 14:31"; "two minutes ago"
//	{n, plural, =0 {none} one {# device} other {# devices}}
//	{role, select, owner {Owner} other {Member}}
//	<b>…</b> <c>…</c> <a>…</a>                   strong, code, link (its address is the argument "href"); in HTML only
//
// Inside plural, # is the number. A literal brace is doubled: {{ }}.
//
// Keys that begin with "language." and "format." describe the language itself. English is the source: what services
// say in Go (services.Say) must stand word for word in en.json, which a test compares, and every other language must
// have every key with the same arguments.
package messages
