-- EMAILID (RFC 8474) of a draft that was changed, and of its copies: other octets under the same id. NULL: email_id, or else id.
ALTER TABLE message ADD COLUMN object_id TEXT;
