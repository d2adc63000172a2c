-- Times are milliseconds since the Unix epoch, UTC. Ids are a prefix and a ULID. Domain names are canonical.

-- Tenants and what opens their doors ---------------------------------------------------------------------------------

CREATE TABLE account (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    id           TEXT PRIMARY KEY,
    account_id   TEXT REFERENCES account ON DELETE CASCADE, -- NULL: an operator's token
    name         TEXT NOT NULL,
    hash         BLOB NOT NULL UNIQUE,                       -- SHA-256 of the whole token
    scope        TEXT NOT NULL CHECK (scope IN ('operator', 'account', 'inboxes')),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER,
    CHECK ((scope = 'operator') = (account_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX token_by_account ON token (account_id, id);

-- The inboxes that a token of scope 'inboxes' opens.
CREATE TABLE token_inbox (
    token_id TEXT NOT NULL REFERENCES token ON DELETE CASCADE,
    inbox_id TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    PRIMARY KEY (token_id, inbox_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX token_inbox_by_inbox ON token_inbox (inbox_id);

-- Every name ever taken, and by whom: it stays with that account for good, the inbox deleted or not.
CREATE TABLE inbox_name (
    name       TEXT PRIMARY KEY,
    account_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE inbox (
    id                TEXT PRIMARY KEY,
    account_id        TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    name              TEXT NOT NULL UNIQUE,
    default_domain_id TEXT REFERENCES custom_domain ON DELETE SET NULL,
    size              INTEGER NOT NULL DEFAULT 0, -- octets of its messages, kept by triggers
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_by_account ON inbox (account_id, id);
CREATE INDEX inbox_by_default_domain ON inbox (default_domain_id) WHERE default_domain_id IS NOT NULL;

-- Custom domains -----------------------------------------------------------------------------------------------------

CREATE TABLE custom_domain (
    id                 TEXT PRIMARY KEY,
    account_id         TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    name               TEXT NOT NULL,
    status             TEXT NOT NULL CHECK (status IN ('pending', 'verified', 'failed')),
    receiving          INTEGER NOT NULL DEFAULT 0,  -- its MX leads here, as last seen
    dkim_tokens        TEXT NOT NULL,               -- three, space between
    ownership_secret   TEXT,                        -- the value at _inboxlayer.<domain>, asked for where contested
    contested_at       INTEGER,                     -- since when another account claims the name, or ever has
    return_path        TEXT,                        -- label of the subdomain that bounces come back to
    return_path_ok     INTEGER NOT NULL DEFAULT 0,  -- its MX and SPF lead here, as last seen
    catch_all_inbox_id TEXT REFERENCES inbox ON DELETE SET NULL,
    is_default         INTEGER NOT NULL DEFAULT 0,
    on_unverified      TEXT NOT NULL DEFAULT 'fallback' CHECK (on_unverified IN ('fallback', 'reject', 'hold')),
    ever_verified      INTEGER NOT NULL DEFAULT 0,
    verified_at        INTEGER,
    window_ends_at     INTEGER,                     -- while pending
    check_count        INTEGER NOT NULL DEFAULT 0,  -- checks in this window: sets the pause
    check_started_at   INTEGER,                     -- at most one check in ten seconds
    last_checked_at    INTEGER,
    next_check_at      INTEGER,                     -- NULL: no check is due (failed)
    asked_at           INTEGER,                     -- the owner asks for a check, and none has begun since
    lease_until        INTEGER,                     -- a check runs; a crash lets it lapse
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    UNIQUE (account_id, name)
) STRICT, WITHOUT ROWID;
-- The contract in one line: at most one verified claim per name.
CREATE UNIQUE INDEX one_verified_claim ON custom_domain (name) WHERE status = 'verified';
CREATE UNIQUE INDEX one_default_domain ON custom_domain (account_id) WHERE is_default = 1;
CREATE INDEX custom_domain_by_name ON custom_domain (name);
CREATE INDEX custom_domain_due ON custom_domain (next_check_at) WHERE next_check_at IS NOT NULL;
CREATE INDEX custom_domain_asked ON custom_domain (asked_at) WHERE asked_at IS NOT NULL;
CREATE INDEX custom_domain_leased ON custom_domain (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX custom_domain_by_catch_all ON custom_domain (catch_all_inbox_id) WHERE catch_all_inbox_id IS NOT NULL;

-- Which accounts have ever claimed a name; it outlives claim and account.
CREATE TABLE claimed_name (
    name       TEXT NOT NULL,
    account_id TEXT NOT NULL,
    PRIMARY KEY (name, account_id)
) STRICT, WITHOUT ROWID;

-- Identities at Amazon SES. A row is written before the first call for its name, so that nothing made there is forgotten.
CREATE TABLE ses_identity (
    name        TEXT PRIMARY KEY,
    mark        TEXT NOT NULL,              -- the tag it is made with: shows later that it is ours
    is_ours     INTEGER NOT NULL DEFAULT 0, -- 0: not known yet, or it was there before; such a one is never deleted
    tokens      TEXT,                       -- three, space between; NULL: SES has not said yet
    dkim_status TEXT,                       -- as SES said last
    sending     INTEGER NOT NULL DEFAULT 0, -- SES sends for it, as it said last
    tries       INTEGER NOT NULL DEFAULT 0, -- that failed, in a row
    next_try_at INTEGER,                    -- when it is looked at again; NULL: nothing to mend
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ses_identity_due ON ses_identity (next_try_at) WHERE next_try_at IS NOT NULL;

-- With the last claim to its name, however it ends, the identity goes too.
CREATE TRIGGER claim_leaves_ses AFTER DELETE ON custom_domain BEGIN
    UPDATE ses_identity SET next_try_at = 0, tries = 0
        WHERE name = OLD.name AND NOT EXISTS (SELECT 1 FROM custom_domain WHERE name = OLD.name);
END;

-- The newest evidence for each record of a domain.
CREATE TABLE domain_record (
    domain_id   TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    position    INTEGER NOT NULL,                   -- the DKIM records of the tokens first
    status      TEXT NOT NULL CHECK (status IN ('valid', 'missing', 'mismatch', 'unknown')),
    observed    TEXT NOT NULL,                      -- JSON array of texts
    error       TEXT,                               -- JSON {code, message, fix, expected_visible_at}
    server      TEXT,                               -- the name server this rests on
    said        TEXT NOT NULL DEFAULT '[]',         -- JSON array: what each server said
    checked_at  INTEGER NOT NULL,
    fault_since INTEGER,                            -- the first of the definite faults in a row, while verified
    fault_count INTEGER NOT NULL DEFAULT 0,         -- how many in a row
    PRIMARY KEY (domain_id, position)
) STRICT, WITHOUT ROWID;

-- The checks of a domain, the newest of them, each with its evidence.
CREATE TABLE domain_check (
    domain_id TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    number    INTEGER NOT NULL,         -- counts the domain's own
    at        INTEGER NOT NULL,
    status    TEXT NOT NULL,            -- of the domain, after it
    records   TEXT NOT NULL,            -- JSON array of the records as the API shows them
    PRIMARY KEY (domain_id, number)
) STRICT;

-- Every change of status, with its cause.
CREATE TABLE domain_event (
    domain_id   TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    number      INTEGER NOT NULL,       -- counts the domain's own
    at          INTEGER NOT NULL,
    from_status TEXT,                   -- NULL: created
    to_status   TEXT NOT NULL,
    cause       TEXT NOT NULL,          -- JSON {cause, records: [{record, expected, found, error, server}]}
    PRIMARY KEY (domain_id, number)
) STRICT;

CREATE TABLE alias (
    id         TEXT PRIMARY KEY,
    domain_id  TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    local_part TEXT NOT NULL,   -- lower case, no quotes, no tag
    inbox_id   TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    UNIQUE (domain_id, local_part)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_by_inbox ON alias (inbox_id);

-- DKIM keys of the local provider. The private half is sealed with the key of the data directory.
CREATE TABLE dkim_key (
    token      TEXT PRIMARY KEY,            -- the selector
    domain_id  TEXT REFERENCES custom_domain ON DELETE CASCADE, -- NULL: the platform domain's
    generation INTEGER NOT NULL DEFAULT 0,  -- how many keys stood behind this token before
    role       TEXT NOT NULL CHECK (role IN ('signing', 'ready', 'retiring')),
    role_since INTEGER NOT NULL,
    seen_at    INTEGER,                     -- when this key was first seen in the DNS
    sealed     BLOB NOT NULL,               -- RSAPrivateKey (RFC 8017 A.1.2), sealed
    public     TEXT NOT NULL,               -- the TXT record, v=DKIM1; …
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dkim_key_by_domain ON dkim_key (domain_id);
-- Of a claim's keys exactly one signs.
CREATE UNIQUE INDEX one_signing_key ON dkim_key (domain_id) WHERE role = 'signing';

-- When a claim's keys are looked at next.
CREATE TABLE dkim_rotation (
    domain_id TEXT PRIMARY KEY REFERENCES custom_domain ON DELETE CASCADE,
    due_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX dkim_rotation_due ON dkim_rotation (due_at);

-- Mail ---------------------------------------------------------------------------------------------------------------

-- A body stands here once, however many recipients, copies and header blocks it has.
CREATE TABLE body (
    id   INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- A message as it is stored: its header block (with the empty line that ends it) before a body. The header stands last, so
-- that reading the size does not pass through it.
CREATE TABLE content (
    id      INTEGER PRIMARY KEY,
    body_id INTEGER NOT NULL REFERENCES body,
    size    INTEGER NOT NULL,   -- octets, header and body
    header  BLOB NOT NULL
) STRICT;
CREATE INDEX content_by_body ON content (body_id);

CREATE TABLE mailbox (
    id             INTEGER PRIMARY KEY,
    inbox_id       TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    name           TEXT NOT NULL,              -- '/' between levels; INBOX in capitals
    special_use    TEXT,                       -- RFC 6154, with the backslash
    uid_validity   INTEGER NOT NULL,
    uid_next       INTEGER NOT NULL DEFAULT 1,
    recent_from    INTEGER NOT NULL DEFAULT 1, -- UIDs from here on are \Recent to the next session that selects it
    highest_modseq INTEGER NOT NULL DEFAULT 1,
    note_count     INTEGER NOT NULL DEFAULT 0, -- rows in expunged
    forgotten      INTEGER NOT NULL DEFAULT 0, -- rows of expunged up to this modseq have been dropped
    UNIQUE (inbox_id, name)
) STRICT;

-- Subscriptions outlive the mailbox (RFC 3501 §6.3.6).
CREATE TABLE subscription (
    inbox_id TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE,
    name     TEXT NOT NULL,
    PRIMARY KEY (inbox_id, name)
) STRICT, WITHOUT ROWID;

-- Clustered by mailbox and UID: a FETCH of flags reads neighbours.
CREATE TABLE message (
    mailbox_id    INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    uid           INTEGER NOT NULL,
    flags         INTEGER NOT NULL DEFAULT 0,  -- 1 \Seen, 2 \Answered, 4 \Flagged, 8 \Deleted, 16 \Draft
    keywords      TEXT NOT NULL DEFAULT '',    -- space between
    modseq        INTEGER NOT NULL,
    content_id    INTEGER NOT NULL REFERENCES content,
    internal_date INTEGER NOT NULL,
    id            TEXT NOT NULL,               -- stays when the message moves to another mailbox of its inbox
    inbox_id      TEXT NOT NULL REFERENCES inbox ON DELETE CASCADE, -- the mailbox's
    mail_from     TEXT NOT NULL DEFAULT '',    -- envelope, where it came by SMTP
    rcpt_to       TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (mailbox_id, uid),
    UNIQUE (inbox_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_by_modseq ON message (mailbox_id, modseq);
CREATE INDEX message_by_content ON message (content_id);

-- What went out of a mailbox, for sessions that have it open. Only the newest are kept.
CREATE TABLE expunged (
    mailbox_id INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    uid        INTEGER NOT NULL,
    modseq     INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, uid)
) STRICT, WITHOUT ROWID;
CREATE INDEX expunged_by_modseq ON expunged (mailbox_id, modseq);

-- UIDVALIDITY never repeats for a name (RFC 3501 §2.3.1.1).
CREATE TABLE uid_validity (last INTEGER NOT NULL) STRICT;
INSERT INTO uid_validity VALUES (0);

-- The queue ----------------------------------------------------------------------------------------------------------

CREATE TABLE submission (
    id            TEXT PRIMARY KEY,
    account_id    TEXT REFERENCES account ON DELETE CASCADE,  -- NULL: the platform's own
    inbox_id      TEXT REFERENCES inbox ON DELETE SET NULL,   -- bounces go here
    inbox_name    TEXT NOT NULL,   -- outlives the inbox: the fallback address is made of it
    token_id      TEXT,
    login_address TEXT,            -- what the sender logged in as
    domain_id     TEXT,            -- the custom domain it leaves under; NULL: the platform's
    state         TEXT NOT NULL CHECK (state IN ('queued', 'held')),
    mail_from     TEXT NOT NULL,   -- the final From, '' for <>
    fallback      TEXT,            -- 'pending' | 'failed' where it fell back
    original_id   INTEGER NOT NULL REFERENCES content, -- header as the client gave it
    outgoing_id   INTEGER NOT NULL REFERENCES content, -- header as it leaves, signed
    is_8bit       INTEGER NOT NULL DEFAULT 0,
    protocol      TEXT NOT NULL,   -- for Received, should the header be made anew
    client        TEXT,            -- the same
    arrived_at    INTEGER NOT NULL, -- real time, for what is written into messages
    created_at    INTEGER NOT NULL, -- by the clock, as expires_at
    expires_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX submission_by_account ON submission (account_id, id);
CREATE INDEX submission_by_original ON submission (original_id);
CREATE INDEX submission_by_outgoing ON submission (outgoing_id);
CREATE INDEX submission_by_domain ON submission (domain_id, created_at) WHERE domain_id IS NOT NULL;
CREATE INDEX submission_held ON submission (domain_id) WHERE state = 'held';

-- A row a recipient, gone when it is settled.
CREATE TABLE delivery (
    id              TEXT PRIMARY KEY,
    submission_id   TEXT NOT NULL REFERENCES submission ON DELETE CASCADE,
    rcpt_to         TEXT NOT NULL,
    domain          TEXT NOT NULL,  -- of rcpt_to: recipients at one domain share a transaction
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,       -- NULL: held
    lease_until     INTEGER,       -- an attempt runs; a crash lets it lapse
    last_attempt_at INTEGER,
    last_reply      TEXT,          -- what the remote server or we ourselves said
    last_mx         TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_by_submission ON delivery (submission_id);
CREATE INDEX delivery_due ON delivery (next_attempt_at) WHERE next_attempt_at IS NOT NULL;

-- The size of an inbox is counted with every message that comes, goes or is copied: never by adding all of them up. A
-- message that moves stays in its inbox ------------------------------------------------------------------------------

CREATE TRIGGER message_counted AFTER INSERT ON message BEGIN
    UPDATE inbox SET size = size + (SELECT size FROM content WHERE id = NEW.content_id) WHERE id = NEW.inbox_id;
END;

-- What nothing refers to any more goes with the last reference, in the same transaction -------------------------------

CREATE TRIGGER message_leaves AFTER DELETE ON message BEGIN
    UPDATE inbox SET size = size - (SELECT size FROM content WHERE id = OLD.content_id) WHERE id = OLD.inbox_id;
    DELETE FROM content WHERE id = OLD.content_id
        AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = OLD.content_id)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = OLD.content_id OR outgoing_id = OLD.content_id);
END;

CREATE TRIGGER submission_leaves AFTER DELETE ON submission BEGIN
    DELETE FROM content WHERE id IN (OLD.original_id, OLD.outgoing_id)
        AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = content.id)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = content.id OR outgoing_id = content.id);
END;

CREATE TRIGGER submission_rewritten AFTER UPDATE OF outgoing_id ON submission WHEN OLD.outgoing_id <> NEW.outgoing_id BEGIN
    DELETE FROM content WHERE id = OLD.outgoing_id
        AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = content.id)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = content.id OR outgoing_id = content.id);
END;

CREATE TRIGGER content_leaves AFTER DELETE ON content BEGIN
    DELETE FROM body WHERE id = OLD.body_id AND NOT EXISTS (SELECT 1 FROM content WHERE body_id = OLD.body_id);
END;

CREATE TRIGGER delivery_leaves AFTER DELETE ON delivery BEGIN
    DELETE FROM submission WHERE id = OLD.submission_id
        AND NOT EXISTS (SELECT 1 FROM delivery WHERE submission_id = OLD.submission_id);
END;
