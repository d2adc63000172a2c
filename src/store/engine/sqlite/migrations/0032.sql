-- Webhooks: endpoints that events of an account are sent to, and what was sent.
CREATE TABLE webhook_subscription (
    id              TEXT PRIMARY KEY,
    account_id      TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    url             TEXT NOT NULL,
    events          TEXT NOT NULL,       -- types, separated by spaces
    is_active       INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    secret          BLOB NOT NULL,       -- sealed
    previous_secret BLOB,                -- sealed; signs too until previous_until
    previous_until  INTEGER,
    since_position  INTEGER NOT NULL,    -- events after this place of the log are sent
    since_number    INTEGER NOT NULL,
    failing_since   INTEGER,             -- the first failed attempt after the last success
    disabled_at     INTEGER,
    disabled_reason TEXT,
    deleted_at      INTEGER,             -- the row is removed after its deliveries
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
CREATE INDEX webhook_subscription_by_account ON webhook_subscription (account_id, id);
CREATE INDEX webhook_subscription_deleted ON webhook_subscription (id) WHERE deleted_at IS NOT NULL;

-- Accounts with active subscriptions: up to where the event log has been read for them.
CREATE TABLE webhook_feed (
    account_id TEXT PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    position   INTEGER NOT NULL,
    number     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The number of the last event of each inbox, and of those of an account that are of no inbox.
CREATE TABLE webhook_sequence (
    account_id TEXT NOT NULL,
    inbox_id   TEXT NOT NULL,            -- '': of no inbox
    last       INTEGER NOT NULL,
    PRIMARY KEY (account_id, inbox_id)
) STRICT, WITHOUT ROWID;

-- What is sent, once for all subscriptions of the account.
CREATE TABLE webhook_event (
    account_id TEXT NOT NULL,
    position   INTEGER NOT NULL,         -- its place in the event log
    number     INTEGER NOT NULL,
    id         TEXT NOT NULL,
    type       TEXT NOT NULL,
    inbox_id   TEXT,
    sequence   INTEGER NOT NULL,
    body       BLOB NOT NULL,            -- JSON
    created_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, position, number)
) STRICT;
CREATE INDEX webhook_event_by_age ON webhook_event (created_at);

CREATE TABLE webhook_delivery (
    id              TEXT PRIMARY KEY,
    webhook_id      TEXT NOT NULL REFERENCES webhook_subscription ON DELETE CASCADE,
    account_id      TEXT NOT NULL,
    position        INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts        INTEGER NOT NULL DEFAULT 0,
    retries         INTEGER NOT NULL DEFAULT 0,    -- attempts since it was last made due by its owner
    next_attempt_at INTEGER,                       -- NULL: it has ended
    ended_at        INTEGER,
    lease_until     INTEGER,
    lease_owner     TEXT,
    ready_at        INTEGER AS (max(next_attempt_at, coalesce(lease_until, next_attempt_at))),
    UNIQUE (webhook_id, position, number),
    FOREIGN KEY (account_id, position, number) REFERENCES webhook_event
) STRICT;
CREATE INDEX webhook_delivery_of_event ON webhook_delivery (account_id, position, number);
CREATE INDEX webhook_delivery_ready ON webhook_delivery (account_id, ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX webhook_delivery_first ON webhook_delivery (webhook_id, position, number) WHERE state = 'waiting' AND retries = 0;
CREATE INDEX webhook_delivery_retried ON webhook_delivery (webhook_id, next_attempt_at) WHERE state = 'waiting' AND retries > 0;
CREATE INDEX webhook_delivery_leased ON webhook_delivery (webhook_id, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX webhook_delivery_ended ON webhook_delivery (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE webhook_attempt (
    delivery_id TEXT NOT NULL REFERENCES webhook_delivery ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    status      INTEGER,                 -- of the endpoint's answer
    error       TEXT,                    -- why there is none
    millis      INTEGER NOT NULL,        -- duration
    PRIMARY KEY (delivery_id, number)
) STRICT, WITHOUT ROWID;

-- Another kind of jobs.
CREATE TABLE due_account_new (
    kind       TEXT NOT NULL CHECK (kind IN ('delivery', 'requested_check', 'check', 'rotation', 'webhook')),
    account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    due_at     INTEGER,                    -- NULL: nothing waits
    served_at  INTEGER NOT NULL DEFAULT 0, -- when a job of it began last
    PRIMARY KEY (kind, account_id)
) STRICT, WITHOUT ROWID;
INSERT INTO due_account_new SELECT kind, account_id, due_at, served_at FROM due_account;
DROP TABLE due_account;
ALTER TABLE due_account_new RENAME TO due_account;
CREATE INDEX due_account_by_time ON due_account (kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX due_account_by_account ON due_account (account_id);
