-- Times are whole seconds since 1970 in UTC, 0 for none. Identifiers are 16 letters and digits of base32.

CREATE TABLE password (
	person  TEXT PRIMARY KEY,
	hash    TEXT NOT NULL,   -- $argon2id$v=19$m=...,t=...,p=...$salt$key
	changed INTEGER NOT NULL
) STRICT;

-- One row for each random secret that lets someone in. The secret itself is not here: only its SHA-256.
CREATE TABLE credential (
	id      TEXT PRIMARY KEY,
	kind    TEXT NOT NULL,    -- see Kinds
	hash    BLOB NOT NULL UNIQUE,
	person  TEXT NOT NULL,
	device  TEXT NOT NULL,    -- it ends with that device; '' is none
	name    TEXT NOT NULL,    -- what its owner calls it
	scope   TEXT NOT NULL,    -- '' is all that the person may do
	role    INTEGER NOT NULL, -- the person's when it was made
	address TEXT NOT NULL,    -- where it was made from, shown in the list of sessions
	created INTEGER NOT NULL,
	used    INTEGER NOT NULL, -- at most ten minutes old
	proved  INTEGER NOT NULL, -- of a session: when the password was last given
	expires INTEGER NOT NULL  -- 0 is never
) STRICT;
CREATE INDEX credential_person ON credential (person, kind);

-- hash is the SHA-256 of the row before and of this row; see audit.go. audit_start holds what the oldest row stands on.
CREATE TABLE audit (
	seq     INTEGER PRIMARY KEY,
	at      INTEGER NOT NULL,
	actor   TEXT NOT NULL,
	face    TEXT NOT NULL,
	address TEXT NOT NULL,
	action  TEXT NOT NULL,
	object  TEXT NOT NULL,
	hash    BLOB NOT NULL
) STRICT;
CREATE TABLE audit_start (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	seq  INTEGER NOT NULL, -- of the last row that was dropped
	hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_start VALUES (1, 0, zeroblob(32));
