-- The schema on PostgreSQL: equal in meaning to what `store/migrations` makes of SQLite.
--
-- Times are milliseconds since 1970. A truth value is 0 or 1, as in SQLite, so that the same statement runs on both.
-- The database orders text by its octets (`LC_COLLATE 'C'`), as SQLite does: checked when it is opened.

-- Accounts -----------------------------------------------------------------------------------------------------------

CREATE TABLE account (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    queued     BIGINT NOT NULL DEFAULT 0 -- octets of its submissions
);
INSERT INTO account (id, name, created_at) VALUES ('acc_00000000000000000000000000', 'deleted inboxes', 0);

CREATE TABLE token (
    id           TEXT PRIMARY KEY,
    account_id   TEXT REFERENCES account ON DELETE CASCADE, -- NULL: an operator's token
    name         TEXT NOT NULL,
    hash         BYTEA NOT NULL UNIQUE,                     -- SHA-256 of the whole token
    scope        TEXT NOT NULL CHECK (scope IN ('operator', 'account', 'inboxes')),
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT,
    CHECK ((scope = 'operator') = (account_id IS NULL))
);
CREATE INDEX token_by_account ON token (account_id, id);

-- Domains and inboxes ------------------------------------------------------------------------------------------------

-- Once taken, a name stays with its account.
CREATE TABLE inbox_name (
    name       TEXT PRIMARY KEY,
    account_id TEXT NOT NULL
);
CREATE INDEX inbox_name_by_account ON inbox_name (account_id);

CREATE TABLE inbox (
    id                TEXT PRIMARY KEY,
    account_id        TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    name              TEXT NOT NULL UNIQUE,
    default_domain_id TEXT,                      -- references custom_domain
    size              BIGINT NOT NULL DEFAULT 0, -- octets of its messages
    messages          BIGINT NOT NULL DEFAULT 0,
    save_sent         SMALLINT NOT NULL DEFAULT 1 CHECK (save_sent IN (0, 1)),
    created_at        BIGINT NOT NULL,
    updated_at        BIGINT NOT NULL
);
CREATE INDEX inbox_by_account ON inbox (account_id, id);
CREATE INDEX inbox_by_default_domain ON inbox (default_domain_id) WHERE default_domain_id IS NOT NULL;

CREATE TABLE token_inbox (
    token_id TEXT NOT NULL REFERENCES token ON DELETE CASCADE,
    inbox_id TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    PRIMARY KEY (token_id, inbox_id)
);
CREATE INDEX token_inbox_by_inbox ON token_inbox (inbox_id);

CREATE TABLE custom_domain (
    id                 TEXT PRIMARY KEY,
    account_id         TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    name               TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('pending', 'verified', 'failed')),
    receiving          SMALLINT NOT NULL DEFAULT 0 CHECK (receiving IN (0, 1)), -- its MX leads here, as last seen
    dkim_tokens        TEXT NOT NULL,              -- three, space between
    ownership_secret   TEXT,                       -- the value at _inboxlayer.<domain>, asked for where contested
    contested_at       BIGINT,                     -- since when another account claims the name, or ever has
    return_path        TEXT,                       -- label of the subdomain that bounces come back to
    return_path_ok     SMALLINT NOT NULL DEFAULT 0 CHECK (return_path_ok IN (0, 1)), -- its MX and SPF lead here, as last seen
    catch_all_inbox_id TEXT REFERENCES inbox ON DELETE SET NULL,
    is_default         SMALLINT NOT NULL DEFAULT 0 CHECK (is_default IN (0, 1)),
    on_unverified      TEXT NOT NULL DEFAULT 'fallback' CHECK (on_unverified IN ('fallback', 'reject', 'hold')),
    takes_mail         SMALLINT NOT NULL DEFAULT 0 CHECK (takes_mail IN (0, 1)),
    verified_at        BIGINT,
    window_ends_at     BIGINT,                     -- while pending
    check_count        BIGINT NOT NULL DEFAULT 0,  -- checks in this window: sets the pause
    check_started_at   BIGINT,                     -- at most one check in ten seconds
    last_checked_at    BIGINT,
    next_check_at      BIGINT,                     -- NULL: no check is due (failed)
    asked_at           BIGINT,                     -- the owner asks for a check, and none has begun since
    lease_until        BIGINT,                     -- a check runs; a crash lets it lapse
    lease_owner        TEXT,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    -- When a check that is asked for, or another, may begin. Unlike SQLite's `max`, `greatest` passes over NULL.
    asked_ready_at     BIGINT GENERATED ALWAYS AS
        (CASE WHEN asked_at IS NOT NULL THEN greatest(asked_at, lease_until) END) STORED,
    ready_at           BIGINT GENERATED ALWAYS AS
        (CASE WHEN asked_at IS NULL AND next_check_at IS NOT NULL THEN greatest(next_check_at, lease_until) END) STORED,
    UNIQUE (account_id, name)
);
CREATE UNIQUE INDEX one_verified_claim ON custom_domain (name) WHERE status = 'verified';
CREATE UNIQUE INDEX one_claim_takes_mail ON custom_domain (name) WHERE takes_mail = 1;
CREATE UNIQUE INDEX one_default_domain ON custom_domain (account_id) WHERE is_default = 1;
CREATE INDEX custom_domain_by_name ON custom_domain (name);
CREATE INDEX custom_domain_due ON custom_domain (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX custom_domain_leased ON custom_domain (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX custom_domain_by_catch_all ON custom_domain (catch_all_inbox_id) WHERE catch_all_inbox_id IS NOT NULL;
CREATE INDEX custom_domain_asked ON custom_domain (account_id, asked_ready_at) WHERE asked_ready_at IS NOT NULL;
CREATE INDEX custom_domain_ready ON custom_domain (account_id, ready_at) WHERE ready_at IS NOT NULL;
ALTER TABLE inbox ADD FOREIGN KEY (default_domain_id) REFERENCES custom_domain ON DELETE SET NULL;

-- Who has ever claimed a name.
CREATE TABLE claimed_name (
    name       TEXT NOT NULL,
    account_id TEXT NOT NULL,
    PRIMARY KEY (name, account_id)
);
CREATE INDEX claimed_name_by_account ON claimed_name (account_id);

CREATE TABLE alias (
    id         TEXT PRIMARY KEY,
    domain_id  TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    local_part TEXT NOT NULL, -- lower case, no quotes, no tag
    inbox_id   TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    UNIQUE (domain_id, local_part)
);
CREATE INDEX alias_by_inbox ON alias (inbox_id);

-- What was last seen of each record.
CREATE TABLE domain_record (
    domain_id     TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    purpose       TEXT NOT NULL
        CHECK (purpose IN ('dkim', 'mx', 'spf', 'dmarc', 'ownership', 'return_path', 'return_path_spf')),
    name          TEXT NOT NULL,              -- the record's full name
    status        TEXT NOT NULL CHECK (status IN ('valid', 'missing', 'mismatch', 'unknown')),
    observed      TEXT NOT NULL,              -- JSON array of texts
    observed_name TEXT,                       -- where they were seen, if not at the record's own name
    error         TEXT,                       -- JSON {code, message, fix, step, expected_visible_at}
    server        TEXT,                       -- the name server this rests on
    said          TEXT NOT NULL DEFAULT '[]', -- JSON array: what each server said
    checked_at    BIGINT NOT NULL,
    fault_since   BIGINT,                     -- the first of the definite faults in a row, while verified
    fault_count   BIGINT NOT NULL DEFAULT 0,  -- how many in a row
    PRIMARY KEY (domain_id, purpose, name)
);

CREATE TABLE domain_event (
    domain_id   TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    number      BIGINT NOT NULL, -- counts the domain's own
    at          BIGINT NOT NULL,
    from_status TEXT,            -- NULL: created
    to_status   TEXT NOT NULL,
    cause       TEXT NOT NULL,   -- JSON {cause, records: [{record, expected, found, error, server}]}
    PRIMARY KEY (domain_id, number)
);

CREATE TABLE domain_finding (
    domain_id TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    digest    BYTEA NOT NULL, -- of the records: the first half of their SHA-256
    records   BYTEA NOT NULL, -- JSON array of the records as the API shows them, without their times; deflated
    PRIMARY KEY (domain_id, digest)
);

CREATE TABLE domain_check (
    domain_id TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    number    BIGINT NOT NULL, -- counts the domain's own
    at        BIGINT NOT NULL,
    status    TEXT NOT NULL,   -- of the domain, after it
    finding   BYTEA NOT NULL,  -- digest of what it found
    times     BYTEA NOT NULL,  -- JSON array of the times that go with that; deflated
    PRIMARY KEY (domain_id, number)
);

-- DKIM ---------------------------------------------------------------------------------------------------------------

CREATE TABLE dkim_key (
    token      TEXT PRIMARY KEY,           -- the selector
    domain_id  TEXT REFERENCES custom_domain ON DELETE CASCADE, -- NULL: the platform domain's
    generation BIGINT NOT NULL DEFAULT 0,  -- how many keys stood behind this token before
    role       TEXT NOT NULL CHECK (role IN ('signing', 'ready', 'retiring')),
    role_since BIGINT NOT NULL,
    seen_at    BIGINT,                     -- when this key was first seen in the DNS
    sealed     BYTEA NOT NULL,             -- RSAPrivateKey (RFC 8017 A.1.2), sealed
    public     TEXT NOT NULL,              -- the TXT record, v=DKIM1; …
    created_at BIGINT NOT NULL
);
CREATE INDEX dkim_key_by_domain ON dkim_key (domain_id);
CREATE UNIQUE INDEX one_signing_key ON dkim_key (domain_id) WHERE role = 'signing';

-- Keys of claims that are gone, whose mail is under way.
CREATE TABLE dkim_kept (
    token  TEXT PRIMARY KEY,
    public TEXT NOT NULL,
    until  BIGINT -- NULL: the claim went a moment ago, and nobody has noted when
);
CREATE INDEX dkim_kept_until ON dkim_kept (until);

CREATE VIEW dkim_zone AS
    SELECT token, public FROM dkim_key WHERE domain_id IS NOT NULL UNION ALL SELECT token, public FROM dkim_kept;

CREATE TABLE dkim_serial (serial BIGINT NOT NULL);
INSERT INTO dkim_serial VALUES (CAST(extract(epoch FROM now()) AS BIGINT));

CREATE TABLE dkim_rotation (
    domain_id   TEXT PRIMARY KEY REFERENCES custom_domain ON DELETE CASCADE,
    account_id  TEXT,
    due_at      BIGINT NOT NULL,
    lease_until BIGINT,
    lease_owner TEXT,
    ready_at    BIGINT GENERATED ALWAYS AS (greatest(due_at, lease_until)) STORED
);
CREATE INDEX dkim_rotation_ready ON dkim_rotation (account_id, ready_at);

CREATE TABLE ses_identity (
    name        TEXT PRIMARY KEY,
    mark        TEXT NOT NULL,             -- the tag it is made with: shows later that it is ours
    is_ours     SMALLINT NOT NULL DEFAULT 0 CHECK (is_ours IN (0, 1)), -- 0: not known yet, or it was there before; such a one is never deleted
    tokens      TEXT,                      -- three, space between; NULL: SES has not said yet
    dkim_status TEXT,                      -- as SES said last
    sending     SMALLINT NOT NULL DEFAULT 0 CHECK (sending IN (0, 1)), -- SES sends for it, as it said last
    mail_from   TEXT,
    led         BIGINT NOT NULL DEFAULT 0,
    changes     BIGINT NOT NULL DEFAULT 0,
    tries       BIGINT NOT NULL DEFAULT 0, -- that failed, in a row
    next_try_at BIGINT,                    -- when it is looked at again; NULL: nothing to mend
    lease_until BIGINT,
    lease_owner TEXT,
    created_at  BIGINT NOT NULL,
    ready_at    BIGINT GENERATED ALWAYS AS
        (CASE WHEN next_try_at IS NOT NULL THEN greatest(next_try_at, lease_until) END) STORED
);
CREATE INDEX ses_identity_ready ON ses_identity (ready_at) WHERE ready_at IS NOT NULL;

-- Mail ---------------------------------------------------------------------------------------------------------------

CREATE TABLE body (
    id   BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    data BYTEA NOT NULL
);
-- Not compressed by the server: so a range of it is read without the rest.
ALTER TABLE body ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE content (
    id      BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    body_id BIGINT NOT NULL REFERENCES body,
    size    BIGINT NOT NULL, -- octets, header and body
    header  BYTEA NOT NULL
);
CREATE INDEX content_by_body ON content (body_id);

CREATE TABLE mailbox (
    id             BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    inbox_id       TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    name           TEXT NOT NULL,             -- '/' between levels; INBOX in capitals
    special_use    TEXT,                      -- RFC 6154, with the backslash
    uid_validity   BIGINT NOT NULL,
    uid_next       BIGINT NOT NULL DEFAULT 1,
    recent_from    BIGINT NOT NULL DEFAULT 1, -- UIDs from here on are \Recent to the next session that selects it
    highest_modseq BIGINT NOT NULL DEFAULT 1,
    note_count     BIGINT NOT NULL DEFAULT 0, -- rows in expunged
    forgotten      BIGINT NOT NULL DEFAULT 0, -- rows of expunged up to this modseq have been dropped
    is_hidden      SMALLINT NOT NULL DEFAULT 0 CHECK (is_hidden IN (0, 1)),
    part_of        BIGINT REFERENCES mailbox ON DELETE SET NULL,
    uid_offset     BIGINT NOT NULL DEFAULT 0,
    held           BIGINT NOT NULL DEFAULT 0, -- octets counted for copies that are not yet made
    held_messages  BIGINT NOT NULL DEFAULT 0, -- the same, messages
    messages       BIGINT NOT NULL DEFAULT 0,
    unseen         BIGINT NOT NULL DEFAULT 0,
    recent         BIGINT NOT NULL DEFAULT 0,
    size           BIGINT NOT NULL DEFAULT 0,
    UNIQUE (inbox_id, name)
);
CREATE INDEX mailbox_parts ON mailbox (part_of) WHERE part_of IS NOT NULL;
CREATE INDEX mailbox_hidden ON mailbox (id) WHERE is_hidden = 1;

CREATE TABLE subscription (
    inbox_id TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    name     TEXT NOT NULL,
    PRIMARY KEY (inbox_id, name)
);

CREATE TABLE message (
    mailbox_id    BIGINT NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    uid           BIGINT NOT NULL,
    flags         BIGINT NOT NULL DEFAULT 0, -- 1 \Seen, 2 \Answered, 4 \Flagged, 8 \Deleted, 16 \Draft
    keywords      TEXT NOT NULL DEFAULT '',  -- space between
    modseq        BIGINT NOT NULL,
    content_id    BIGINT NOT NULL REFERENCES content,
    internal_date BIGINT NOT NULL,
    id            TEXT NOT NULL,             -- stays when the message moves to another mailbox of its inbox
    inbox_id      TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE, -- the mailbox's
    mail_from     TEXT NOT NULL DEFAULT '',  -- envelope, where it came by SMTP
    rcpt_to       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (mailbox_id, uid),
    UNIQUE (inbox_id, id)
);
CREATE INDEX message_by_modseq ON message (mailbox_id, modseq);
CREATE INDEX message_by_content ON message (content_id);

-- Keywords of the messages of a row of mailbox, in lower case.
CREATE TABLE mailbox_keyword (
    mailbox_id BIGINT NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    keyword    TEXT NOT NULL,
    messages   BIGINT NOT NULL, -- that have it
    PRIMARY KEY (mailbox_id, keyword)
);

CREATE TABLE expunged (
    mailbox_id BIGINT NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    uid        BIGINT NOT NULL,
    modseq     BIGINT NOT NULL,
    PRIMARY KEY (mailbox_id, uid)
);
CREATE INDEX expunged_by_modseq ON expunged (mailbox_id, modseq);

CREATE TABLE uid_validity (last BIGINT NOT NULL);
INSERT INTO uid_validity VALUES (0);

-- Contents at which daemons ended while they read them.
CREATE TABLE unreadable (
    content_id BIGINT PRIMARY KEY REFERENCES content ON DELETE CASCADE,
    aborts     BIGINT NOT NULL, -- daemons that ended while they read it
    is_aside   SMALLINT NOT NULL CHECK (is_aside IN (0, 1)) -- no parser may see it
);

-- The queue ----------------------------------------------------------------------------------------------------------

CREATE TABLE submission (
    id            TEXT PRIMARY KEY,
    account_id    TEXT REFERENCES account ON DELETE CASCADE, -- NULL: the platform's own
    inbox_id      TEXT REFERENCES inbox ON DELETE SET NULL,  -- bounces go here
    inbox_name    TEXT NOT NULL,   -- outlives the inbox: the fallback address is made of it
    token_id      TEXT,
    login_address TEXT,            -- what the sender logged in as
    domain_id     TEXT,            -- the custom domain it leaves under; NULL: the platform's
    state         TEXT NOT NULL CHECK (state IN ('queued', 'held')),
    mail_from     TEXT NOT NULL,   -- the final From, '' for <>
    fallback      TEXT,            -- 'pending' | 'failed' where it fell back
    original_id   BIGINT NOT NULL REFERENCES content, -- header as the client gave it
    outgoing_id   BIGINT NOT NULL REFERENCES content, -- header as it leaves, signed
    is_8bit       SMALLINT NOT NULL DEFAULT 0 CHECK (is_8bit IN (0, 1)),
    is_unsigned   SMALLINT NOT NULL DEFAULT 0 CHECK (is_unsigned IN (0, 1)),
    octets        BIGINT NOT NULL DEFAULT 0,
    protocol      TEXT NOT NULL,   -- for Received, should the header be made anew
    client        TEXT,            -- the same
    arrived_at    BIGINT NOT NULL, -- real time, for what is written into messages
    created_at    BIGINT NOT NULL, -- by the clock, as expires_at
    expires_at    BIGINT NOT NULL
);
CREATE INDEX submission_by_account ON submission (account_id, id);
CREATE INDEX submission_by_original ON submission (original_id);
CREATE INDEX submission_by_outgoing ON submission (outgoing_id);
CREATE INDEX submission_by_domain ON submission (domain_id, created_at) WHERE domain_id IS NOT NULL;
CREATE INDEX submission_by_inbox ON submission (inbox_id) WHERE inbox_id IS NOT NULL;
CREATE INDEX submission_held ON submission (domain_id) WHERE state = 'held';

CREATE TABLE delivery (
    id              TEXT PRIMARY KEY,
    submission_id   TEXT NOT NULL REFERENCES submission ON DELETE CASCADE,
    account_id      TEXT,
    rcpt_to         TEXT NOT NULL,
    domain          TEXT NOT NULL, -- of rcpt_to: recipients at one domain share a transaction
    attempts        BIGINT NOT NULL DEFAULT 0,
    next_attempt_at BIGINT,        -- NULL: held
    lease_until     BIGINT,        -- an attempt runs; a crash lets it lapse
    lease_owner     TEXT,
    last_attempt_at BIGINT,
    last_reply      TEXT,          -- what the remote server or we ourselves said
    last_mx         TEXT,
    ready_at        BIGINT GENERATED ALWAYS AS
        (CASE WHEN next_attempt_at IS NOT NULL THEN greatest(next_attempt_at, lease_until) END) STORED
);
CREATE INDEX delivery_by_submission ON delivery (submission_id);
CREATE INDEX delivery_ready ON delivery (account_id, ready_at) WHERE ready_at IS NOT NULL;

-- Accounts with work that is due.
CREATE TABLE due_account (
    kind       TEXT NOT NULL CHECK (kind IN ('delivery', 'requested_check', 'check', 'rotation')),
    account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    due_at     BIGINT,                    -- NULL: nothing waits
    served_at  BIGINT NOT NULL DEFAULT 0, -- when a job of it began last
    PRIMARY KEY (kind, account_id)
);
CREATE INDEX due_account_by_time ON due_account (kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX due_account_by_account ON due_account (account_id);
