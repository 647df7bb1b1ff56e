// Package archive writes and reads the export of a household: one file that holds what the boxes keep, in a form that
// other programs can read without any of ours. It knows no service: what goes in and what comes out are bytes.
//
// # Bytes of the file
//
// A tar in the form of POSIX.1-1988 ("ustar"), nothing but plain files, all with mode 0600, no owner, and the time of the
// export. Two zero blocks end it and nothing follows. The files, in this order:
//
//	manifest.json          what is inside, see Manifest; at most 64 KiB
//	README.txt             what is inside, for people
//	<every other file>     in the order in which the manifest lists them
//
// The manifest is a JSON object:
//
//	hearth_export  1, the version of all this
//	household      name; domain; id: the public key its log began with, 52 letters and digits of base32
//	box            name; id: the box that made it, likewise its public key
//	made           when, by the known time of that box (RFC 3339, UTC)
//	incomplete     true when the box could not read all of its own record; else it is absent
//	files          of every other file, README.txt first: name, bytes, sha256 (64 hexadecimal digits)
//
// A name is one or two parts of a to z, 0 to 9, "-" and ".", the latter never first, with "/" between them. These are
// known now; one that a reader does not know it leaves alone:
//
//	identity/log           the signed record of who belongs: services/identity/internal/logfile and record, byte by byte
//	identity/records.json  the same to be read by people: what "hearth log show --json" gives
//	identity/members.json  who belongs now: people, devices, boxes and friends as lists (see Members)
//	contacts.vcf           friends as vCard 4.0 (RFC 6350)
//	<name>.data            what another service keeps, as its package says: dns, witness
//	account.data           passwords as hashes, app passwords, and what happened; only when it was asked for
//
// What is read back is identity/log and the .data files. The others are made of the log.
//
// # What it promises
//
//   - The same state and time give the same bytes.
//   - Read returns an Archive only when all of it was there: every file of the manifest, in its order, with its length
//     and its hash, and nothing else. It takes MaxBytes at the most, whatever a header promises, and keeps what it reads
//     in the spool, not in memory.
//   - No private key, no session and no recovery word is in an export.
//
// # What it does not do
//
// The hashes find damage, not forgery: the manifest is not signed. The log is, record by record, so that nobody can add to
// it. All else is as trustworthy as the place where the file lay.
package archive
