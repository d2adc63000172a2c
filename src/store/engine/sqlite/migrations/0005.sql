-- Deliveries shared out by account.

ALTER TABLE delivery ADD COLUMN account_id TEXT; -- its submission's
UPDATE delivery SET account_id = (SELECT account_id FROM submission WHERE id = submission_id);
-- When an attempt may begin; NULL: held.
ALTER TABLE delivery ADD COLUMN ready_at INTEGER AS (max(next_attempt_at, coalesce(lease_until, next_attempt_at)));
DROP INDEX delivery_due;
CREATE INDEX delivery_ready ON delivery (account_id, ready_at) WHERE ready_at IS NOT NULL;

-- When the first delivery of each account is due. Triggers keep it.
CREATE TABLE delivery_turn (
    account_id TEXT PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    due_at     INTEGER, -- NULL: nothing waits
    served_at  INTEGER NOT NULL DEFAULT 0 -- when an attempt of it began last
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_turn_due ON delivery_turn (due_at) WHERE due_at IS NOT NULL;
INSERT INTO delivery_turn (account_id, due_at) SELECT account_id, min(ready_at) FROM delivery WHERE account_id IS NOT NULL GROUP BY account_id;

CREATE TRIGGER delivery_waits AFTER INSERT ON delivery WHEN NEW.ready_at IS NOT NULL BEGIN
    INSERT INTO delivery_turn (account_id, due_at) VALUES (NEW.account_id, NEW.ready_at)
        ON CONFLICT (account_id) DO UPDATE SET due_at = excluded.due_at WHERE due_at IS NULL OR due_at > excluded.due_at;
END;
CREATE TRIGGER delivery_waits_anew AFTER UPDATE OF next_attempt_at, lease_until ON delivery
    WHEN OLD.ready_at IS NOT NEW.ready_at BEGIN
    UPDATE delivery_turn SET
        due_at = (SELECT min(ready_at) FROM delivery WHERE account_id = NEW.account_id AND ready_at IS NOT NULL)
    WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER delivery_waits_no_more AFTER DELETE ON delivery WHEN OLD.ready_at IS NOT NULL BEGIN
    UPDATE delivery_turn SET
        due_at = (SELECT min(ready_at) FROM delivery WHERE account_id = OLD.account_id AND ready_at IS NOT NULL)
    WHERE account_id = OLD.account_id;
END;
