-- Messages by their id alone, as the API names them.
ALTER TABLE message ADD COLUMN email_id TEXT;   -- of a copy: the id of the message that it was copied from, first of all
ALTER TABLE message ADD COLUMN changed_at INTEGER NOT NULL DEFAULT 0; -- when flags or mailbox changed last: real time; 0: never
CREATE INDEX message_by_id ON message (id);
