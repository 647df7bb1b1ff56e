-- Of an invitation: the person who made it and must still be allowed to; '' is the box itself.
ALTER TABLE credential ADD maker TEXT NOT NULL DEFAULT '';
