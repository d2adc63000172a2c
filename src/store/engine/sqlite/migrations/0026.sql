-- The index of searches. A message has a row in one of search_tail and search_document.

-- Accounts whose mail is indexed.
CREATE TABLE search_account (
    account_id  TEXT NOT NULL PRIMARY KEY,
    number      INTEGER NOT NULL UNIQUE,    -- the first bits of the numbers of its documents
    last_number INTEGER NOT NULL,           -- of its documents so far
    last_id     TEXT,                       -- the message of that
    served_at   INTEGER NOT NULL,           -- by the clock: when its mail was indexed last
    lease_until INTEGER,
    lease_owner TEXT
) STRICT, WITHOUT ROWID;

-- Messages that are not in the index: each search compares them.
CREATE TABLE search_tail (
    is_left_out INTEGER NOT NULL CHECK (is_left_out IN (0, 1)), -- 0: it is to be indexed
    account_id  TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    PRIMARY KEY (is_left_out, account_id, message_id)
) STRICT, WITHOUT ROWID;

-- Messages that are in it: those of an account in the order of their ids.
CREATE TABLE search_document (
    message_id TEXT NOT NULL PRIMARY KEY,
    number     INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- Their trigrams as hexadecimal numbers, with the document's number as row number: only which document has which trigram is stored.
CREATE VIRTUAL TABLE search_gram USING fts5(grams, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');
-- Removing a row only marks it; a segment is rewritten when this percentage of its rows is marked (10 by default: a removal then takes as long as an insertion).
INSERT INTO search_gram (search_gram, rank) VALUES ('deletemerge', 40);

INSERT INTO search_tail (is_left_out, account_id, message_id)
    SELECT 0, i.account_id, m.id FROM message m JOIN inbox i ON i.id = m.inbox_id
    WHERE i.account_id <> 'acc_00000000000000000000000000';
