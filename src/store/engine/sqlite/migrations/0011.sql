-- Every inbox has its standard mailboxes from the transaction that makes it on; those that exist get them here. Which of them
-- an owner has deleted meanwhile stays so: an inbox with INBOX has had all.

-- Whether copies of what the inbox sends are filed in its Sent mailbox.
ALTER TABLE inbox ADD COLUMN save_sent INTEGER NOT NULL DEFAULT 1;

CREATE TABLE standard_mailbox (name TEXT NOT NULL, special_use TEXT) STRICT;
INSERT INTO standard_mailbox VALUES ('INBOX', NULL), ('Drafts', '\Drafts'), ('Sent', '\Sent'), ('Junk', '\Junk'),
    ('Trash', '\Trash'), ('Archive', '\Archive');
CREATE TABLE without_mailboxes AS SELECT id FROM inbox WHERE account_id <> 'acc_00000000000000000000000000'
    AND NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.inbox_id = inbox.id AND m.name = 'INBOX');

INSERT OR IGNORE INTO subscription (inbox_id, name)
    SELECT i.id, s.name FROM without_mailboxes i, standard_mailbox s;
INSERT INTO mailbox (inbox_id, name, special_use, uid_validity)
    SELECT i.id, s.name, s.special_use, row_number() OVER () + (SELECT max(last, unixepoch()) FROM uid_validity)
    FROM without_mailboxes i, standard_mailbox s WHERE true ON CONFLICT DO NOTHING;
UPDATE uid_validity SET last = max(last, (SELECT coalesce(max(uid_validity), 0) FROM mailbox));

DROP TABLE standard_mailbox;
DROP TABLE without_mailboxes;
