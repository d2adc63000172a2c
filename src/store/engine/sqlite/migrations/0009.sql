-- The names that an account has ever taken are counted.

CREATE INDEX inbox_name_by_account ON inbox_name (account_id);
CREATE INDEX claimed_name_by_account ON claimed_name (account_id);
