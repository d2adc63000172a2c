-- Annotations that mail clients make (RFC 5464): of a mailbox, and of an inbox as a whole.
CREATE TABLE mailbox_metadata (
    mailbox_id BIGINT NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    name       TEXT NOT NULL, -- /private/... or /shared/..., in lower case
    value      BYTEA NOT NULL,
    PRIMARY KEY (mailbox_id, name)
);
CREATE TABLE inbox_metadata (
    inbox_id TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    name     TEXT NOT NULL,
    value    BYTEA NOT NULL,
    PRIMARY KEY (inbox_id, name)
);
