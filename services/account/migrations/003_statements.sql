-- What boxes of the household say about passwords, app passwords and tokens; see statements.go. The tables password and
-- credential are what follows from it, and what stays on this box.
CREATE TABLE statement (
	subject TEXT NOT NULL,    -- which credential: 'p' and the person, or 'c' and the identifier
	writer  BLOB NOT NULL,    -- PeerID of the box that says it; empty is this one
	person  TEXT NOT NULL,
	body    BLOB NOT NULL,    -- internal/statement
	sig     BLOB NOT NULL,    -- the writer's; empty is not signed yet
	ended   INTEGER NOT NULL, -- 1: never again
	sent    INTEGER NOT NULL, -- 1: another box may have it
	PRIMARY KEY (subject, writer)
) STRICT, WITHOUT ROWID;
CREATE INDEX statement_person ON statement (person);
-- met: this box has its part in the household's passwords, and takes over nobody else's without being asked.
CREATE TABLE household (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	met INTEGER NOT NULL
) STRICT;
INSERT INTO household SELECT 1, EXISTS (SELECT 1 FROM password);
-- Which statement the hash is of; empty is not known. The hash may be a costlier one of the same password.
ALTER TABLE password ADD version BLOB NOT NULL DEFAULT x'';
