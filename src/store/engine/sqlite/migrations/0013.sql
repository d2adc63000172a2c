-- Background work: leases with an owner, and one table of the accounts whose work is due.

-- The runner that does the work until `lease_until`, unless it renews that.
ALTER TABLE delivery ADD COLUMN lease_owner TEXT;
ALTER TABLE custom_domain ADD COLUMN lease_owner TEXT;
ALTER TABLE dkim_rotation ADD COLUMN lease_until INTEGER;
ALTER TABLE dkim_rotation ADD COLUMN lease_owner TEXT;
ALTER TABLE ses_identity ADD COLUMN lease_until INTEGER;
ALTER TABLE ses_identity ADD COLUMN lease_owner TEXT;

ALTER TABLE dkim_rotation ADD COLUMN account_id TEXT; -- its claim's
UPDATE dkim_rotation SET account_id = (SELECT account_id FROM custom_domain WHERE id = domain_id);
ALTER TABLE dkim_rotation ADD COLUMN ready_at INTEGER AS (max(due_at, coalesce(lease_until, due_at)));
DROP INDEX dkim_rotation_due;
CREATE INDEX dkim_rotation_ready ON dkim_rotation (account_id, ready_at);
ALTER TABLE ses_identity ADD COLUMN ready_at INTEGER AS (max(next_try_at, coalesce(lease_until, next_try_at)));
DROP INDEX ses_identity_due;
CREATE INDEX ses_identity_ready ON ses_identity (ready_at) WHERE ready_at IS NOT NULL;

-- When the first job of each kind is due for each account: places are shared out by account, so an account with very much that
-- is due delays no other. Triggers keep `due_at`.
CREATE TABLE due_account (
    kind       TEXT NOT NULL CHECK (kind IN ('delivery', 'requested_check', 'check', 'rotation')),
    account_id TEXT NOT NULL REFERENCES account ON DELETE CASCADE,
    due_at     INTEGER,                    -- NULL: nothing waits
    served_at  INTEGER NOT NULL DEFAULT 0, -- when a job of it began last
    PRIMARY KEY (kind, account_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX due_account_by_time ON due_account (kind, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX due_account_by_account ON due_account (account_id);

DROP TRIGGER delivery_waits;
DROP TRIGGER delivery_waits_anew;
DROP TRIGGER delivery_waits_no_more;
INSERT INTO due_account SELECT 'delivery', account_id, due_at, served_at FROM delivery_turn;
DROP TABLE delivery_turn;
CREATE TRIGGER delivery_added AFTER INSERT ON delivery WHEN NEW.ready_at IS NOT NULL BEGIN
    INSERT INTO due_account (kind, account_id, due_at) VALUES ('delivery', NEW.account_id, NEW.ready_at)
        ON CONFLICT (kind, account_id) DO UPDATE SET due_at = excluded.due_at WHERE due_at IS NULL OR due_at > excluded.due_at;
END;
CREATE TRIGGER delivery_moved AFTER UPDATE OF next_attempt_at, lease_until ON delivery
    WHEN OLD.ready_at IS NOT NEW.ready_at BEGIN
    UPDATE due_account SET
        due_at = (SELECT min(ready_at) FROM delivery WHERE account_id = NEW.account_id AND ready_at IS NOT NULL)
    WHERE kind = 'delivery' AND account_id = NEW.account_id;
END;
CREATE TRIGGER delivery_removed AFTER DELETE ON delivery WHEN OLD.ready_at IS NOT NULL BEGIN
    UPDATE due_account SET
        due_at = (SELECT min(ready_at) FROM delivery WHERE account_id = OLD.account_id AND ready_at IS NOT NULL)
    WHERE kind = 'delivery' AND account_id = OLD.account_id;
END;

DROP TRIGGER claim_waits;
DROP TRIGGER claim_waits_anew;
DROP TRIGGER claim_waits_no_more;
INSERT INTO due_account (kind, account_id, due_at) SELECT 'requested_check', account_id, asked_at FROM check_turn;
INSERT INTO due_account (kind, account_id, due_at) SELECT 'check', account_id, due_at FROM check_turn;
DROP TABLE check_turn;
CREATE TRIGGER claim_added AFTER INSERT ON custom_domain BEGIN
    INSERT OR IGNORE INTO due_account (kind, account_id) VALUES ('requested_check', NEW.account_id), ('check', NEW.account_id);
    UPDATE due_account SET
        due_at = (SELECT min(ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND ready_at IS NOT NULL)
    WHERE kind = 'check' AND account_id = NEW.account_id;
END;
CREATE TRIGGER claim_moved AFTER UPDATE OF next_check_at, asked_at, lease_until ON custom_domain
    WHEN OLD.ready_at IS NOT NEW.ready_at OR OLD.asked_ready_at IS NOT NEW.asked_ready_at BEGIN
    UPDATE due_account SET due_at = CASE kind
        WHEN 'check' THEN (SELECT min(ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND ready_at IS NOT NULL)
        ELSE (SELECT min(asked_ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND asked_ready_at IS NOT NULL) END
    WHERE kind IN ('requested_check', 'check') AND account_id = NEW.account_id;
END;
CREATE TRIGGER claim_removed AFTER DELETE ON custom_domain BEGIN
    UPDATE due_account SET due_at = CASE kind
        WHEN 'check' THEN (SELECT min(ready_at) FROM custom_domain WHERE account_id = OLD.account_id AND ready_at IS NOT NULL)
        ELSE (SELECT min(asked_ready_at) FROM custom_domain WHERE account_id = OLD.account_id AND asked_ready_at IS NOT NULL) END
    WHERE kind IN ('requested_check', 'check') AND account_id = OLD.account_id;
END;

INSERT INTO due_account (kind, account_id, due_at)
    SELECT 'rotation', account_id, min(ready_at) FROM dkim_rotation WHERE account_id IS NOT NULL GROUP BY account_id;
CREATE TRIGGER rotation_added AFTER INSERT ON dkim_rotation BEGIN
    INSERT INTO due_account (kind, account_id, due_at) VALUES ('rotation', NEW.account_id, NEW.ready_at)
        ON CONFLICT (kind, account_id) DO UPDATE SET due_at = excluded.due_at WHERE due_at IS NULL OR due_at > excluded.due_at;
END;
CREATE TRIGGER rotation_moved AFTER UPDATE OF due_at, lease_until ON dkim_rotation WHEN OLD.ready_at IS NOT NEW.ready_at BEGIN
    UPDATE due_account SET due_at = (SELECT min(ready_at) FROM dkim_rotation WHERE account_id = NEW.account_id)
    WHERE kind = 'rotation' AND account_id = NEW.account_id;
END;
CREATE TRIGGER rotation_removed AFTER DELETE ON dkim_rotation BEGIN
    UPDATE due_account SET due_at = (SELECT min(ready_at) FROM dkim_rotation WHERE account_id = OLD.account_id)
    WHERE kind = 'rotation' AND account_id = OLD.account_id;
END;
