-- The version of a label, for If-Match.
ALTER TABLE label ADD COLUMN updated_at INTEGER NOT NULL DEFAULT 0; -- of its last change; 0: made by an older program, and not changed since
