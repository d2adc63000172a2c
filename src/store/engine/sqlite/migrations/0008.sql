-- What an account has in the queue is counted with every message that comes and leaves.

ALTER TABLE submission ADD COLUMN octets INTEGER NOT NULL DEFAULT 0; -- its share of its account's queued
ALTER TABLE account ADD COLUMN queued INTEGER NOT NULL DEFAULT 0;
UPDATE submission SET octets = (SELECT size FROM content WHERE id = outgoing_id) +
    (SELECT length(header) FROM content WHERE id = original_id);
UPDATE account SET queued = (SELECT coalesce(sum(octets), 0) FROM submission WHERE account_id = account.id);

CREATE TRIGGER submission_counted AFTER INSERT ON submission BEGIN
    UPDATE account SET queued = queued + NEW.octets WHERE id = NEW.account_id;
END;
CREATE TRIGGER submission_uncounted AFTER DELETE ON submission BEGIN
    UPDATE account SET queued = queued - OLD.octets WHERE id = OLD.account_id;
END;
