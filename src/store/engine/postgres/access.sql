-- Allow and block lists. An entry without an inbox is of the whole account.
CREATE TABLE access_entry (
    id         TEXT PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    inbox_id   TEXT REFERENCES inbox ON DELETE CASCADE,
    direction  TEXT NOT NULL,    -- receive, send
    action     TEXT NOT NULL,    -- allow, block
    pattern    TEXT NOT NULL,    -- an address, a domain, *
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX access_entry_by_pattern ON access_entry (account_id, direction, pattern, action, coalesce(inbox_id, ''));
CREATE INDEX access_entry_by_inbox ON access_entry (inbox_id);
