-- People who log in with a password.
CREATE TABLE account_user (
    id          TEXT NOT NULL PRIMARY KEY,
    account_id  TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    email       TEXT NOT NULL UNIQUE, -- lower case
    first_name  TEXT NOT NULL,
    last_name   TEXT NOT NULL,
    password    TEXT NOT NULL,        -- its hash, with the parameters
    disabled_at BIGINT,              -- NULL: the user may log in
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL
);
CREATE INDEX account_user_by_account ON account_user (account_id, id);

-- Whose log-in made it.
ALTER TABLE token ADD COLUMN user_id TEXT REFERENCES account_user ON DELETE CASCADE;
CREATE INDEX token_by_user ON token (user_id, id) WHERE user_id IS NOT NULL;
-- Words with spaces between; NULL: all.
ALTER TABLE token ADD COLUMN permissions TEXT;
