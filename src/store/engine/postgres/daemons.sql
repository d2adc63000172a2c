-- Several daemons on one store.

-- Changes of many messages that are under way, one for each inbox: whose, and until when.
CREATE TABLE long_change (
    inbox_id    TEXT PRIMARY KEY REFERENCES inbox ON DELETE CASCADE,
    lease_owner TEXT NOT NULL,
    lease_until BIGINT NOT NULL    -- by real time
);

-- A text of the program's own, sealed: it opens with the sealing key of this store, and with no other.
CREATE TABLE sealing_check (
    id     SMALLINT PRIMARY KEY CHECK (id = 1),
    sealed BYTEA NOT NULL
);

-- What is counted for the limits that hold over all daemons. Unlogged: a crash of the server forgets it, and nothing waits for
-- the disk.
CREATE UNLOGGED TABLE rate (
    key     BYTEA PRIMARY KEY,      -- a hash of the limit's name and of whom it limits
    spent   BIGINT NOT NULL,
    ends_at BIGINT NOT NULL         -- then it begins at 0 again
);
CREATE INDEX rate_by_end ON rate (ends_at);
