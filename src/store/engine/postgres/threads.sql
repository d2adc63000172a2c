-- Messages of an inbox that belong together.
CREATE TABLE thread (
    id           TEXT NOT NULL PRIMARY KEY,
    account_id   TEXT NOT NULL,
    inbox_id     TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    subject      TEXT NOT NULL,             -- of its first message
    base_subject TEXT NOT NULL,             -- RFC 5256 §2.1, in lower case
    participants TEXT NOT NULL,             -- addresses in lower case, space between; the first of them
    last_id      TEXT NOT NULL              -- of the message that came last
);
CREATE INDEX thread_of_account ON thread (account_id, last_id);
CREATE INDEX thread_of_inbox ON thread (inbox_id, last_id);
CREATE INDEX thread_by_subject ON thread (inbox_id, base_subject, last_id);

-- Which thread the messages belong to that name this Message-ID.
CREATE TABLE thread_reference (
    inbox_id  TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    reference BIGINT NOT NULL,             -- of the Message-ID's hash
    thread_id TEXT NOT NULL REFERENCES thread ON DELETE CASCADE,
    PRIMARY KEY (inbox_id, reference)
);
CREATE INDEX thread_reference_of_thread ON thread_reference (thread_id);

ALTER TABLE message ADD COLUMN thread_id TEXT; -- NULL until it is found, of messages that came before this column
CREATE INDEX message_by_thread ON message (thread_id, id) WHERE thread_id IS NOT NULL;
CREATE INDEX message_without_thread ON message (id) WHERE thread_id IS NULL;

-- Labels that an account has given names and colours: keywords of its messages.
CREATE TABLE label (
    id         TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    name       TEXT NOT NULL,
    slug       TEXT NOT NULL,               -- the keyword
    color      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (account_id, slug)
);

-- What was sent, with what became of it. It is there as long as its copy in Sent, and for some time without one.
CREATE TABLE sent_email (
    id           TEXT NOT NULL PRIMARY KEY, -- of its copy in Sent, with the ULID of the submission
    inbox_id     TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    recipients   TEXT NOT NULL,             -- JSON: [{"address", "here"}]; one that is here got it with the acceptance
    message_type TEXT,
    metadata     TEXT,                      -- JSON, an object
    send_at      BIGINT,                   -- by the clock
    created_at   BIGINT NOT NULL
);
CREATE INDEX sent_email_by_time ON sent_email (created_at);
CREATE INDEX sent_email_of_inbox ON sent_email (inbox_id);

-- The end of its deliveries.
CREATE TABLE sent_result (
    email_id   TEXT NOT NULL REFERENCES sent_email ON DELETE CASCADE,
    rcpt_to    TEXT NOT NULL,
    is_bounced BIGINT NOT NULL,
    reply      TEXT NOT NULL,
    mx         TEXT,                        -- NULL: by ourselves
    ended_at   BIGINT NOT NULL,
    PRIMARY KEY (email_id, rcpt_to)
);
