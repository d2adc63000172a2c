-- :inboxes inboxes of accounts of ten, each with the standard mailboxes and :messages messages of about 10 KiB in INBOX. A third of
-- the text is random, so that it compresses as mail does. Ids are numbers where the program makes ULIDs.
SET synchronous_commit = off;
CREATE FUNCTION id(prefix TEXT, n BIGINT) RETURNS TEXT IMMUTABLE LANGUAGE sql AS $$ SELECT prefix || lpad(to_hex(n), 26, '0') $$;
BEGIN;
INSERT INTO account (id, name, created_at) SELECT id('acc_', a), 'scale', 0 FROM generate_series(1, :inboxes / 10) a;
INSERT INTO inbox_name SELECT 'box' || n, id('acc_', 1 + (n - 1) / 10) FROM generate_series(1, :inboxes) n;
INSERT INTO inbox (id, account_id, name, size, messages, created_at, updated_at)
    SELECT id('inb_', n), id('acc_', 1 + (n - 1) / 10), 'box' || n, :messages * 10496, :messages, 0, 0 FROM generate_series(1, :inboxes) n;
-- INBOX first: its row number is that of the inbox, after :before.
SELECT coalesce(max(id), 0) AS before FROM mailbox \gset
INSERT INTO mailbox (id, inbox_id, name, special_use, uid_validity, uid_next, highest_modseq, messages, unseen, recent, size)
    SELECT :before + n, id('inb_', n), 'INBOX', NULL, n, :messages + 1, :messages + 1, :messages, :messages, :messages, :messages * 10240
    FROM generate_series(1, :inboxes) n;
INSERT INTO mailbox (id, inbox_id, name, special_use, uid_validity)
    SELECT :before + :inboxes * use.place + n, id('inb_', n), use.name, '\' || use.name, :inboxes * use.place + n
    FROM generate_series(1, :inboxes) n,
        unnest(ARRAY['Drafts', 'Sent', 'Junk', 'Trash', 'Archive']) WITH ORDINALITY AS use (name, place);
SELECT setval(pg_get_serial_sequence('mailbox', 'id'), max(id)) FROM mailbox \g /dev/null
UPDATE uid_validity SET last = greatest(last, :inboxes * 6);
INSERT INTO subscription
    SELECT id('inb_', n), name FROM generate_series(1, :inboxes) n,
        unnest(ARRAY['INBOX', 'Drafts', 'Sent', 'Junk', 'Trash', 'Archive']) AS name;
COMMIT;
-- Bodies from before bodies had names: the text itself. A message is 10,240 octets with its header.
SELECT coalesce(max(id), 0) AS first_body FROM body \gset
SELECT coalesce(max(id), 0) AS first_content FROM content \gset
CREATE FUNCTION header(m BIGINT) RETURNS TEXT IMMUTABLE LANGUAGE sql AS $$
    SELECT E'From: someone@elsewhere.test\r\nTo: someone@inboxlayer.dev\r\nSubject: message ' || m || E'\r\nMessage-ID: <' || m || E'@elsewhere.test>\r\n\r\n'
$$;
INSERT INTO body (id, data)
    SELECT :first_body + m, convert_to(left(line.all, 10240 - length(header(m)) - 2) || E'\r\n', 'UTF8')
    FROM generate_series(1, :inboxes * :messages) m, LATERAL (
        SELECT string_agg(md5(m || ':' || n) || E' and the usual words that mail is written with, line by line\r\n', '') AS all
        FROM generate_series(1, 109) n) line;
INSERT INTO content (id, body_id, size, header)
    SELECT :first_content + m, :first_body + m, 10240, convert_to(header(m), 'UTF8') FROM generate_series(1, :inboxes * :messages) m;
INSERT INTO message (mailbox_id, uid, modseq, content_id, internal_date, id, inbox_id)
    SELECT :before + 1 + (m - 1) / :messages, 1 + (m - 1) % :messages, 2 + (m - 1) % :messages, :first_content + m, 0, id('msg_', m),
        id('inb_', 1 + (m - 1) / :messages)
    FROM generate_series(1, :inboxes * :messages) m;
SELECT setval(pg_get_serial_sequence('body', 'id'), max(id)) FROM body \g /dev/null
SELECT setval(pg_get_serial_sequence('content', 'id'), max(id)) FROM content \g /dev/null
DROP FUNCTION id, header;
VACUUM ANALYZE;
CHECKPOINT;
SELECT pg_size_pretty(pg_database_size(current_database())) AS database \gset
SELECT pg_size_pretty(sum(pg_total_relation_size(c.oid))) AS rest FROM pg_class c
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT IN ('body') \gset
\echo the database is :database, without bodies :rest
