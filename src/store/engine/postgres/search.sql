-- The index of searches. A message has a row in one of search_tail and search_document.

-- Accounts whose mail is indexed.
CREATE TABLE search_account (
    account_id  TEXT NOT NULL PRIMARY KEY,
    number      BIGINT NOT NULL UNIQUE,     -- the first bits of the numbers of its documents
    last_number BIGINT NOT NULL,            -- of its documents so far
    last_id     TEXT,                       -- the message of that
    served_at   BIGINT NOT NULL,            -- by the clock: when its mail was indexed last
    lease_until BIGINT,
    lease_owner TEXT
);

-- Messages that are not in the index: each search compares them.
CREATE TABLE search_tail (
    is_left_out BIGINT NOT NULL CHECK (is_left_out IN (0, 1)), -- 0: it is to be indexed
    account_id  TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    PRIMARY KEY (is_left_out, account_id, message_id)
);

-- Messages that are in it: those of an account in the order of their ids.
CREATE TABLE search_document (
    message_id TEXT NOT NULL PRIMARY KEY,
    number     BIGINT NOT NULL UNIQUE,
    grams      INTEGER[] NOT NULL           -- its trigrams, and the block that it is in
);
-- Without a list of pending entries, which every search would read, of whatever account they are.
CREATE INDEX search_gram ON search_document USING gin (grams) WITH (fastupdate = off);

INSERT INTO search_tail (is_left_out, account_id, message_id)
    SELECT 0, i.account_id, m.id FROM message m JOIN inbox i ON i.id = m.inbox_id
    WHERE i.account_id <> 'acc_00000000000000000000000000';
