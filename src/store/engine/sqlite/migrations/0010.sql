-- The size of an inbox counts 256 octets for each message's row, and its keywords; messages and keywords are counted.

ALTER TABLE inbox ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
-- Messages that an inbox has counted for copies that are not yet made, beside their octets.
ALTER TABLE mailbox ADD COLUMN held_messages INTEGER NOT NULL DEFAULT 0;

-- Keywords of the messages of a row of mailbox, without regard to case.
CREATE TABLE mailbox_keyword (
    mailbox_id INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE,
    keyword    TEXT NOT NULL COLLATE NOCASE,
    messages   INTEGER NOT NULL,  -- that have it
    PRIMARY KEY (mailbox_id, keyword)
) STRICT, WITHOUT ROWID;

UPDATE inbox SET (messages, size) =
    (SELECT count(*), inbox.size + 256 * count(*) + coalesce(sum(octet_length(m.keywords)), 0)
     FROM message m WHERE m.inbox_id = inbox.id);
-- A keyword is an atom (RFC 3501 §9): no space, quotation mark or backslash is in it.
INSERT INTO mailbox_keyword
    SELECT m.mailbox_id, k.value, count(*)
    FROM message m, json_each('["' || replace(m.keywords, ' ', '","') || '"]') k
    WHERE m.keywords <> '' GROUP BY m.mailbox_id, k.value COLLATE NOCASE;

CREATE TRIGGER message_row_counted AFTER INSERT ON message BEGIN
    UPDATE inbox SET messages = messages + 1, size = size + 256 + octet_length(NEW.keywords) WHERE id = NEW.inbox_id;
END;
CREATE TRIGGER message_row_leaves AFTER DELETE ON message BEGIN
    UPDATE inbox SET messages = messages - 1, size = size - 256 - octet_length(OLD.keywords) WHERE id = OLD.inbox_id;
END;
CREATE TRIGGER keywords_sized AFTER UPDATE OF keywords ON message WHEN OLD.keywords <> NEW.keywords BEGIN
    UPDATE inbox SET size = size + octet_length(NEW.keywords) - octet_length(OLD.keywords) WHERE id = NEW.inbox_id;
END;

CREATE TRIGGER keywords_come AFTER INSERT ON message WHEN NEW.keywords <> '' BEGIN
    INSERT INTO mailbox_keyword SELECT NEW.mailbox_id, value, 1
        FROM json_each('["' || replace(NEW.keywords, ' ', '","') || '"]') WHERE true
        ON CONFLICT DO UPDATE SET messages = messages + 1;
END;
CREATE TRIGGER keywords_go AFTER DELETE ON message WHEN OLD.keywords <> '' BEGIN
    UPDATE mailbox_keyword SET messages = messages - 1 WHERE mailbox_id = OLD.mailbox_id
        AND keyword IN (SELECT value FROM json_each('["' || replace(OLD.keywords, ' ', '","') || '"]'));
    DELETE FROM mailbox_keyword WHERE mailbox_id = OLD.mailbox_id AND messages < 1;
END;
CREATE TRIGGER keywords_change AFTER UPDATE OF keywords, mailbox_id ON message
    WHEN OLD.keywords <> NEW.keywords OR (OLD.mailbox_id <> NEW.mailbox_id AND NEW.keywords <> '') BEGIN
    UPDATE mailbox_keyword SET messages = messages - 1 WHERE mailbox_id = OLD.mailbox_id AND OLD.keywords <> ''
        AND keyword IN (SELECT value FROM json_each('["' || replace(OLD.keywords, ' ', '","') || '"]'));
    INSERT INTO mailbox_keyword SELECT NEW.mailbox_id, value, 1
        FROM json_each('["' || replace(NEW.keywords, ' ', '","') || '"]') WHERE NEW.keywords <> ''
        ON CONFLICT DO UPDATE SET messages = messages + 1;
    DELETE FROM mailbox_keyword WHERE mailbox_id = OLD.mailbox_id AND messages < 1;
END;
