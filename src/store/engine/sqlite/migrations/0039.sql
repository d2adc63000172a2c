-- SAVEDATE (RFC 8514): when a message was put into its mailbox, real time. NULL: not known, of messages of before this column.
ALTER TABLE message ADD COLUMN saved_at INTEGER;
