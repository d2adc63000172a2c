-- Webhooks: endpoints that events of an account are sent to, and what was sent.
CREATE TABLE webhook_subscription (
    id              TEXT PRIMARY KEY,
    account_id      TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    url             TEXT NOT NULL,
    events          TEXT NOT NULL,       -- types, separated by spaces
    is_active       SMALLINT NOT NULL CHECK (is_active IN (0, 1)),
    secret          BYTEA NOT NULL,       -- sealed
    previous_secret BYTEA,                -- sealed; signs too until previous_until
    previous_until  BIGINT,
    since_position  BIGINT NOT NULL,    -- events after this place of the log are sent
    since_number    BIGINT NOT NULL,
    failing_since   BIGINT,             -- the first failed attempt after the last success
    disabled_at     BIGINT,
    disabled_reason TEXT,
    deleted_at      BIGINT,             -- the row is removed after its deliveries
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE INDEX webhook_subscription_by_account ON webhook_subscription (account_id, id);
CREATE INDEX webhook_subscription_deleted ON webhook_subscription (id) WHERE deleted_at IS NOT NULL;

-- Accounts with active subscriptions: up to where the event log has been read for them.
CREATE TABLE webhook_feed (
    account_id TEXT PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    position   BIGINT NOT NULL,
    number     BIGINT NOT NULL
);

-- The number of the last event of each inbox, and of those of an account that are of no inbox.
CREATE TABLE webhook_sequence (
    account_id TEXT NOT NULL,
    inbox_id   TEXT NOT NULL,            -- '': of no inbox
    last       BIGINT NOT NULL,
    PRIMARY KEY (account_id, inbox_id)
);

-- What is sent, once for all subscriptions of the account.
CREATE TABLE webhook_event (
    account_id TEXT NOT NULL,
    position   BIGINT NOT NULL,         -- its place in the event log
    number     BIGINT NOT NULL,
    id         TEXT NOT NULL,
    type       TEXT NOT NULL,
    inbox_id   TEXT,
    sequence   BIGINT NOT NULL,
    body       BYTEA NOT NULL,            -- JSON
    created_at BIGINT NOT NULL,
    PRIMARY KEY (account_id, position, number)
);
CREATE INDEX webhook_event_by_age ON webhook_event (created_at);

CREATE TABLE webhook_delivery (
    id              TEXT PRIMARY KEY,
    webhook_id      TEXT NOT NULL REFERENCES webhook_subscription ON DELETE CASCADE,
    account_id      TEXT NOT NULL,
    position        BIGINT NOT NULL,
    number          BIGINT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'failed')),
    attempts        BIGINT NOT NULL DEFAULT 0,
    retries         BIGINT NOT NULL DEFAULT 0,    -- attempts since it was last made due by its owner
    next_attempt_at BIGINT,                       -- NULL: it has ended
    ended_at        BIGINT,
    lease_until     BIGINT,
    lease_owner     TEXT,
    ready_at        BIGINT GENERATED ALWAYS AS
        (CASE WHEN next_attempt_at IS NOT NULL THEN greatest(next_attempt_at, lease_until) END) STORED,
    UNIQUE (webhook_id, position, number),
    FOREIGN KEY (account_id, position, number) REFERENCES webhook_event
);
CREATE INDEX webhook_delivery_of_event ON webhook_delivery (account_id, position, number);
CREATE INDEX webhook_delivery_ready ON webhook_delivery (account_id, ready_at) WHERE ready_at IS NOT NULL;
CREATE INDEX webhook_delivery_first ON webhook_delivery (webhook_id, position, number) WHERE state = 'waiting' AND retries = 0;
CREATE INDEX webhook_delivery_retried ON webhook_delivery (webhook_id, next_attempt_at) WHERE state = 'waiting' AND retries > 0;
CREATE INDEX webhook_delivery_leased ON webhook_delivery (webhook_id, lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX webhook_delivery_ended ON webhook_delivery (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE webhook_attempt (
    delivery_id TEXT NOT NULL REFERENCES webhook_delivery ON DELETE CASCADE,
    number      BIGINT NOT NULL,
    at          BIGINT NOT NULL,
    status      BIGINT,                 -- of the endpoint's answer
    error       TEXT,                    -- why there is none
    millis      BIGINT NOT NULL,        -- duration
    PRIMARY KEY (delivery_id, number)
);

-- Another kind of jobs.
ALTER TABLE due_account DROP CONSTRAINT due_account_kind_check,
    ADD CONSTRAINT due_account_kind_check CHECK (kind IN ('delivery', 'requested_check', 'check', 'rotation', 'webhook'));
