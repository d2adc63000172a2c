-- What a mailbox holds is counted with every message that comes, goes or changes: STATUS adds nothing up.

ALTER TABLE mailbox ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox ADD COLUMN unseen INTEGER NOT NULL DEFAULT 0; -- without \Seen
ALTER TABLE mailbox ADD COLUMN recent INTEGER NOT NULL DEFAULT 0; -- with a UID from recent_from on: of a part, that of its mailbox
ALTER TABLE mailbox ADD COLUMN size INTEGER NOT NULL DEFAULT 0;   -- octets
UPDATE mailbox SET
    (messages, unseen, size) = (SELECT count(*), count(*) FILTER (WHERE m.flags & 1 = 0), coalesce(sum(c.size), 0)
        FROM message m JOIN content c ON c.id = m.content_id WHERE m.mailbox_id = mailbox.id),
    recent = (SELECT count(*) FROM message m WHERE m.mailbox_id = mailbox.id AND m.uid + mailbox.uid_offset >=
        coalesce((SELECT recent_from FROM mailbox p WHERE p.id = mailbox.part_of), mailbox.recent_from));

DROP TRIGGER message_counted;
CREATE TRIGGER message_counted AFTER INSERT ON message BEGIN
    UPDATE inbox SET size = size + (SELECT size FROM content WHERE id = NEW.content_id) WHERE id = NEW.inbox_id;
    UPDATE mailbox SET messages = messages + 1, unseen = unseen + (NEW.flags & 1 = 0),
        recent = recent + (NEW.uid + uid_offset >=
            coalesce((SELECT recent_from FROM mailbox p WHERE p.id = mailbox.part_of), recent_from)),
        size = size + (SELECT size FROM content WHERE id = NEW.content_id)
    WHERE id = NEW.mailbox_id;
END;

DROP TRIGGER message_leaves;
CREATE TRIGGER message_leaves AFTER DELETE ON message BEGIN
    UPDATE inbox SET size = size - (SELECT size FROM content WHERE id = OLD.content_id) WHERE id = OLD.inbox_id;
    UPDATE mailbox SET messages = messages - 1, unseen = unseen - (OLD.flags & 1 = 0),
        recent = recent - (OLD.uid + uid_offset >=
            coalesce((SELECT recent_from FROM mailbox p WHERE p.id = mailbox.part_of), recent_from)),
        size = size - (SELECT size FROM content WHERE id = OLD.content_id)
    WHERE id = OLD.mailbox_id;
    DELETE FROM content WHERE id = OLD.content_id
        AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = OLD.content_id)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = OLD.content_id OR outgoing_id = OLD.content_id);
END;

CREATE TRIGGER message_moves AFTER UPDATE OF mailbox_id, uid ON message WHEN OLD.mailbox_id <> NEW.mailbox_id BEGIN
    UPDATE mailbox SET messages = messages - 1, unseen = unseen - (OLD.flags & 1 = 0),
        recent = recent - (OLD.uid + uid_offset >=
            coalesce((SELECT recent_from FROM mailbox p WHERE p.id = mailbox.part_of), recent_from)),
        size = size - (SELECT size FROM content WHERE id = OLD.content_id)
    WHERE id = OLD.mailbox_id;
    UPDATE mailbox SET messages = messages + 1, unseen = unseen + (NEW.flags & 1 = 0),
        recent = recent + (NEW.uid + uid_offset >=
            coalesce((SELECT recent_from FROM mailbox p WHERE p.id = mailbox.part_of), recent_from)),
        size = size + (SELECT size FROM content WHERE id = NEW.content_id)
    WHERE id = NEW.mailbox_id;
END;

CREATE TRIGGER message_is_seen AFTER UPDATE OF flags ON message
    WHEN OLD.flags & 1 <> NEW.flags & 1 AND OLD.mailbox_id = NEW.mailbox_id BEGIN
    UPDATE mailbox SET unseen = unseen + (NEW.flags & 1 = 0) - (OLD.flags & 1 = 0) WHERE id = NEW.mailbox_id;
END;
