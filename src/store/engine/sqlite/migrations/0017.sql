-- Several daemons on one store.

-- Changes of many messages that are under way, one for each inbox: whose, and until when.
CREATE TABLE long_change (
    inbox_id    TEXT PRIMARY KEY REFERENCES inbox ON DELETE CASCADE,
    lease_owner TEXT NOT NULL,
    lease_until INTEGER NOT NULL    -- by real time
) STRICT, WITHOUT ROWID;

-- A text of the program's own, sealed: it opens with the sealing key of this store, and with no other.
CREATE TABLE sealing_check (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;
