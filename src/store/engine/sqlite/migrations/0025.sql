-- The UIDVALIDITY of the newest mailbox of an account: accounts do not wait for one another to make mailboxes. Those given out before are up to
-- uid_validity.last, which does not change any more.
CREATE TABLE last_uid_validity (
    account_id TEXT PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    last       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
