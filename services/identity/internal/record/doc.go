// Package record is the wire format of the household log: one signed record, parsed and formatted, with no I/O.
//
// # Bytes of a record
//
// All numbers are big endian. There is exactly one form for each value: what Parse accepts, Format writes again
// byte for byte, and anything else is refused (a bound passed, parents out of order, a flag that is not used, a
// byte left over).
//
//	offset  size  field
//	0       1     version, 1
//	1       1     op, 1 to 255 (below)
//	2       1     kind of author: 1 a box (its device key), 2 the household root
//	3       32    the author's Ed25519 public key (RFC 8032)
//	35      8     sequence: 1 for the author's first record, then one more each; two different records of one
//	              author with the same sequence prove that its key is used in two places
//	43      8     known time when it was made, Unix seconds, below 253,402,300,800 (the year 10000); for people to
//	              read and never for deciding rights
//	51      1     flags: bit 0 a person is named, bit 1 a device is named (only with bit 0); the others 0
//	52      10    if bit 0: the person on whose behalf the box acted, 80 bits
//	+0      10    if bit 1: the device of that person through which the act came, 80 bits
//	+0      1     number of parents p, 0 to 16; 0 for genesis and for nothing else
//	+1      32*p  parents: identifiers of the newest records the author had, strictly ascending; the author's own
//	              record before this one is always in their past
//	+0      2     length n of the payload, 0 to 4,096
//	+2      n     payload, by op
//	+n      64    Ed25519 signature over Domain followed by all bytes of the record before the signature
//
// The identifier (ID) of a record is the SHA-256 of all its bytes, signature included. Parents make the records a
// hash DAG whose only source is the genesis record, so that a record belongs to one household and to nothing else.
//
// # Payloads
//
// A "text" is one byte of length (1 to 255) and that many bytes of UTF-8 without control characters. An "id" is
// 10 bytes, the 80 bits that services.PersonID and services.DeviceID write in base32. A "time" is 8 bytes of Unix
// seconds as above, 0 for none. A "bool" is one byte, 0 or 1. A "role" is one byte, 1 guest, 2 member, 3 admin,
// 4 owner. A "host" is one byte, 1 to 254: the last byte of an address in Net4 and in Net6.
//
//	op  name             payload
//	1   genesis          text household name · text label · 4 bytes Net4 (10.x.y.0, /24) · 6 bytes Net6 (fd..., /48) ·
//	                     32 bytes SHA-256 of the next root's public key, all zero for none; author is the root
//	2   add-box          32 bytes the box's public key · text name · text label · host
//	3   add-person       id · text name · role · bool may reach the home network · time the invitation ends, none when
//	                     the person is active at once
//	4   set-role         id · role
//	5   rename-person    id · text name
//	6   activate-person  id
//	7   set-lan          id · bool
//	8   remove-person    id
//	9   add-device       id of the device · id of its person · text name · 32 bytes Curve25519 public key · host ·
//	                     time it is forgotten unless activated, none when it is active at once
//	10  activate-device  id
//	11  rename-device    id · text name
//	12  remove-device    id
//	13  remove-box       32 bytes the box's public key
//	14  epoch            8 bytes number, 1 for the first and one more each · 32 bytes the root's public key from here on ·
//	                     32 bytes SHA-256 of the root's public key that may follow it, all zero for none · 1 byte how
//	                     many records of its past it voids, 0 to 64 · 32 bytes each, strictly ascending · 1 byte how many
//	                     branches of boxes whose key was used twice it keeps, 0 to 16 · 32 bytes each, the newest record of
//	                     the branch, strictly ascending; author is the root until now, or a box, of which several have to
//	                     sign the same. The root stays, and with it the hash where there is one, or is the one that was
//	                     announced
//	15  add-friend       32 bytes the friend · count · text petname · text nickname · peers · grants
//	16  rename-friend    32 bytes the friend · count · text petname
//	17  update-friend    32 bytes the friend · count · text nickname · peers
//	18  set-grants       32 bytes the friend · count · 4 bytes number of the grants, 1 for those of add-friend, and one more
//	                     each time that they change; the same again renews them · grants
//	19  remove-friend    32 bytes the friend · count
//	20  replace-box      32 bytes the box's public key until now · 32 bytes the one from here on; author is the root
//	21  set-leaving      id of a removed person · 4 bytes number of the choice, one more than that of the newest one known,
//	                     1 for the first · 1 byte what becomes of what they kept: 1 it is kept until it was exported, 2 it
//	                     is erased after 30 days, 3 it is erased at once
//
// A friend is the public key of the root that another household's log began with. A "count" is 4 bytes, 1 for the first
// time that this friend is added and one more each time after a removal, so that a removal ends what it knew of and no
// later friendship. "peers" is one byte p, 1 to 8, and p public keys of boxes, strictly ascending. "grants" is one byte,
// bit 0 relay, bit 1 store, bit 2 exit, bit 3 follow, the others 0; with bit 1, 4 bytes of megabytes (1,000,000 bytes), 1 to
// 1,000,000,000; the time at which they end, none when and only when no grant is given.
//
// Labels have the form of a DNS label of RFC 1123: 1 to 63 of a-z, 0-9 and -, with no - at either end.
//
// # Versions
//
// A record of another version is refused with ErrVersion. A record of this version with an op this program does not
// know is kept as Unknown, with its bytes, so that a log written by a newer program stays whole: whoever folds the
// log decides what an unknown op means (identity stops changing anything).
package record
