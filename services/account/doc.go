// Package account is sign-in: who may come in, how they prove it, and how that ends.
//
//	            SignIn      +----------+  argon2id, one at a time,   +-----------------+
//	name, password -------> | throttle | --------------------------> | sessions, app   |
//	                        +----------+  known devices first        | passwords, API  |   SHA-256 of each
//	Authenticate, CheckBasic, CheckToken: memory only <--------------| tokens, ...     |-> account.sqlite
//	                                        ^                        +-----------------+
//	         the membership snapshot -------+  asked on every call          ^ what follows
//	                                                                 +-----------------+
//	                other boxes of the household <-ServeCredentials->| statements      |
//	                                                                 +-----------------+
//
// Passwords are argon2id with m = 64 MiB, t = 3, p = 1 (RFC 9106; the parameters are kept with each hash and brought up
// to date at sign-in). Everything else that lets someone in is a random secret of 128 bits or more, kept as its
// SHA-256 in one table with a kind; Kinds lists them, so that a test of revocation fails on a kind it does not try.
//
// # Several boxes
//
// Every box of a household lets the same people in: passwords, app passwords and tokens are signed statements, which
// the boxes exchange (statements.go has the rules, internal/statement the bytes, exchange.go the protocol
// /account/credentials/v1). Sessions, known browsers, throttles and the audit log stay on their box, and so do
// invitations: the link or code is opened at the box that made it, and the password that is set with it counts on every
// box. A password that arrives ends the person's sessions and invitations, as one that is set here does.
//
// Each box has the hashes of all passwords. A stolen one is as good as a stolen list of them: argon2id and the least
// length slow down guessing, and that is all, so people had better choose new passwords. Until it is removed, it can also
// set any person's password, make them an app password or a token of at most their role, and end such; the household
// would follow. Removing it (the household log does) undoes all of that but the ends: what it stated is dropped
// everywhere and never taken again, the password before is good again, and those sessions end. What somebody did at
// another box, signed in with a planted password, is that box's own: an app password made there, or one more change of
// the password. The audit log there names them; a reset at the console, or a link to a new password that ends app
// passwords too, ends them. A copy of a box with the same key is that box to everybody, itself included.
//
// The price: a password that was last set at a removed box is the one before again, and none where there was none before;
// its app passwords and tokens end. RestsOn counts them. A box vouches for all that it finds when it joins, so this is
// about what is younger than the second box, and KeepFrom keeps even that when the box was not stolen.
//
// # What it promises
//
//   - Acknowledged means on disk. The exceptions, to spare the flash: when a credential was last used (at most ten
//     minutes are lost) and refused sign-ins in the audit log (at most one minute). What came from another box is on
//     disk before it counts here or is passed on.
//   - Revocation needs no write. Every check asks the current membership: a person who is gone, quarantined or has
//     lost a part of their role, or whose device is gone, is refused at once; rows are erased after that, and OnEnded
//     tells who holds sockets open. If the erasing fails, it is tried again.
//   - Boxes that have exchanged all hold the same, and which password is good follows from that alone, not from a clock
//     or an order of arrival. What ended stays ended.
//   - Guessing is slow and nobody is locked out: waiting grows to fifteen minutes by account and address and never
//     further; a device of the tunnel, and a browser that has signed in before, wait only for their own mistakes.
//   - Memory is bounded: credentials by person, throttle buckets, the queue for hashing, one hash at a time; what other
//     boxes state, by box and by person.
//   - A damaged database is set aside and named in Health. Then nobody has a password, until another box of the household
//     is met, or ResetPassword, which the console calls, makes one.
//
// What it does not do: it does not store who belongs (identity does), sets no cookies and knows no pages. It opens no
// connections: appliance hands ServeCredentials a stream to a box.
package account
