// Package api holds the one table of operations: what a household can ask of its box. Each row says the name, the
// input and output types, the least role, the faces it is reachable on, and the function that does it. From the
// table are derived
//
//   - the verbs of the program (package cli), which call the running box over admin.sock,
//   - /api/v1 and its document /api/v1/openapi.json (Handler, Document),
//   - the access tests (face x role x class x route),
//
// and the pages call the same functions through webui's interface. There is one way to do a thing.
//
// Input types are structs. A field's json tag is its name in /api/v1 and, with dashes, its flag; further tags:
//
//	arg:"NAME"      a positional word of the verb, in the order of the fields
//	path:"id"       taken from the path in /api/v1
//	help:"…"        one line for the verb's help and the document
//	file:"words"    the flag --words-file F reads the value from a file, so that no secret stands on a command line
//
// Output fields with save:"png" hold bytes that the flag --png FILE of the verb writes to a file.
package api
