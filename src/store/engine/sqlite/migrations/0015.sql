-- Bodies have names: the hash of their octets. The same body is stored once for all inboxes, compressed where that pays.

-- What a body is called, and where it is. One without a row here was stored before: its data is the body itself.
CREATE TABLE body_name (
    body_id     INTEGER PRIMARY KEY REFERENCES body ON DELETE CASCADE,
    hash        BLOB NOT NULL UNIQUE,   -- BLAKE3 of the body
    size        INTEGER NOT NULL,       -- octets of the body
    stored_size INTEGER NOT NULL,       -- octets of its stored form
    object      TEXT                    -- in the object store, under this name; NULL: in body.data
) STRICT;
CREATE UNIQUE INDEX body_name_by_object ON body_name (object) WHERE object IS NOT NULL;

-- Bodies that are still to get their names.
CREATE TABLE body_unnamed (
    body_id INTEGER PRIMARY KEY REFERENCES body ON DELETE CASCADE
) STRICT;
INSERT INTO body_unnamed SELECT DISTINCT body_id FROM content;

-- Bodies that lost a content: perhaps their last. The sweep looks when they are due.
CREATE TABLE body_released (
    body_id    INTEGER PRIMARY KEY REFERENCES body ON DELETE CASCADE,
    due_at     INTEGER NOT NULL DEFAULT 0,
    has_waited INTEGER NOT NULL DEFAULT 0   -- for the grace period of the object store
) STRICT;
CREATE INDEX body_released_due ON body_released (due_at);

-- Objects that no row names, and none will: they are deleted, and remembered for a while.
CREATE TABLE object_condemned (
    name       TEXT PRIMARY KEY,
    at         INTEGER NOT NULL,    -- when it was condemned or deleted
    is_deleted INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX object_condemned_by_time ON object_condemned (is_deleted, at);
