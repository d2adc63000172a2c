-- Requests that were sent with an idempotency key, and their answers.
CREATE TABLE idempotency (
    token_id   TEXT NOT NULL REFERENCES token ON DELETE CASCADE,
    key        BLOB NOT NULL,    -- SHA-256
    request    BLOB NOT NULL,    -- SHA-256 of method, path and body
    owner      TEXT NOT NULL,    -- the account, or an operator's token
    started_at INTEGER NOT NULL,
    status     INTEGER,          -- of the answer; NULL: it has none yet
    head       TEXT,             -- JSON: header fields of the answer
    body       BLOB,             -- NULL: it was not kept
    made       TEXT,             -- the id of what was made, where the body was not kept
    PRIMARY KEY (token_id, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_owner ON idempotency (owner, started_at);
CREATE INDEX idempotency_by_age ON idempotency (started_at);
