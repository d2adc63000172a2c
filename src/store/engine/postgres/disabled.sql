-- Since when an inbox takes no mail, sends none, and cannot be logged in to; NULL: it is not disabled.
ALTER TABLE inbox ADD COLUMN disabled_at BIGINT;
