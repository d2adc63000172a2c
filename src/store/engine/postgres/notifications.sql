-- Device tokens that apps register for push notifications.
CREATE TABLE notification_token (
    id         TEXT NOT NULL PRIMARY KEY,
    account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    user_id    TEXT REFERENCES account_user ON DELETE CASCADE, -- whose log-in has registered it
    token      TEXT NOT NULL,
    platform   TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL, -- when it was registered last
    UNIQUE (account_id, token)
);
CREATE INDEX notification_token_by_user ON notification_token (user_id) WHERE user_id IS NOT NULL;
