-- Mod-sequences for mail clients (RFC 7162): messages of a part that was published as a whole have at least this one.
ALTER TABLE mailbox ADD COLUMN least_modseq BIGINT NOT NULL DEFAULT 0;
