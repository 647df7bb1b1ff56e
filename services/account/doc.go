// Package account is sign-in: who may come in, how they prove it, and how that ends.
//
//	            SignIn      +----------+  argon2id, one at a time,   +-----------------+
//	name, password -------> | throttle | --------------------------> | sessions, app   |
//	                        +----------+  known devices first        | passwords, API  |   SHA-256 of each
//	Authenticate, CheckBasic, CheckToken: memory only <--------------| tokens, ...     |-> account.sqlite
//	                                        ^                        +-----------------+
//	         the membership snapshot -------+  asked on every call
//
// Passwords are argon2id with m = 64 MiB, t = 3, p = 1 (RFC 9106; the parameters are kept with each hash and brought up
// to date at sign-in). Everything else that lets someone in is a random secret of 128 bits or more, kept as its
// SHA-256 in one table with a kind; Kinds lists them, so that a test of revocation fails on a kind it does not try.
//
// What it promises:
//
//   - Acknowledged means on disk. The exceptions, to spare the flash: when a credential was last used (at most ten
//     minutes are lost) and refused sign-ins in the audit log (at most one minute).
//   - Revocation needs no write. Every check asks the current membership: a person who is gone, quarantined or has
//     lost a part of their role, or whose device is gone, is refused at once; rows are erased after that, and OnEnded
//     tells who holds sockets open. If the erasing fails, it is tried again.
//   - Guessing is slow and nobody is locked out: waiting grows to fifteen minutes by account and address and never
//     further; a device of the tunnel, and a browser that has signed in before, wait only for their own mistakes.
//   - Memory is bounded: credentials by person, throttle buckets, the queue for hashing, one hash at a time.
//   - A damaged database is set aside and named in Health. Then nobody has a password, until ResetPassword, which
//     the console calls, makes one.
//
// What it does not do: it does not store who belongs (identity does), sets no cookies and knows no pages.
package account
