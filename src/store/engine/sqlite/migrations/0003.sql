-- Changes of many messages are made in batches, between which others write.

-- A row that is hidden is no mailbox of a client's, and its name begins with an octet 1. With part_of, its messages are that
-- mailbox's, each under its UID plus uid_offset, until they have been moved over. Without, nobody sees them: copies that are
-- not complete, a mailbox that was deleted. They are removed.
ALTER TABLE mailbox ADD COLUMN is_hidden INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox ADD COLUMN part_of INTEGER REFERENCES mailbox ON DELETE SET NULL;
ALTER TABLE mailbox ADD COLUMN uid_offset INTEGER NOT NULL DEFAULT 0;
-- Octets that its inbox has counted for copies that are not yet made.
ALTER TABLE mailbox ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
CREATE INDEX mailbox_parts ON mailbox (part_of) WHERE part_of IS NOT NULL;
CREATE INDEX mailbox_hidden ON mailbox (id) WHERE is_hidden = 1;

-- Inboxes that were deleted, until their messages have been removed. No token opens this account.
INSERT INTO account (id, name, created_at) VALUES ('acc_00000000000000000000000000', 'deleted inboxes', 0);
CREATE INDEX submission_by_inbox ON submission (inbox_id) WHERE inbox_id IS NOT NULL;
