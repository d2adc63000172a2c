-- What has changed in the accounts, in the order of the changes: for readers that go on where they left off. Rows are removed after
-- [store] event_retention.
CREATE TABLE event (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    position   INTEGER NOT NULL, -- 2^48 for each epoch: on one machine, rows of an epoch are in the order of their numbers
    account_id TEXT NOT NULL,
    inbox_id   TEXT,             -- it may be deleted: that is an event, too
    kind       TEXT NOT NULL,
    data       TEXT NOT NULL,    -- JSON
    at         INTEGER NOT NULL  -- real time
) STRICT;
-- SQLite puts the number, which is the rowid, behind the columns.
CREATE INDEX event_by_account ON event (account_id, position);
CREATE INDEX event_by_inbox ON event (inbox_id, position) WHERE inbox_id IS NOT NULL;

CREATE TABLE event_log (
    epoch             INTEGER NOT NULL, -- raised when the rows come into another database
    removed_position  INTEGER NOT NULL, -- of the last row that was removed
    removed_number    INTEGER NOT NULL
) STRICT;
INSERT INTO event_log VALUES (0, 0, 0);
