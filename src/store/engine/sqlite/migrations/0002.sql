-- Checks shared out by account; what checks find alike kept once; keys that outlive their claim; the MAIL FROM domain at SES.

-- Custom domains -----------------------------------------------------------------------------------------------------

-- When a check may begin that the owner asks for, and one that nobody asked for.
ALTER TABLE custom_domain ADD COLUMN asked_ready_at INTEGER AS (max(asked_at, coalesce(lease_until, asked_at)));
ALTER TABLE custom_domain ADD COLUMN ready_at INTEGER
    AS (CASE WHEN asked_at IS NULL THEN max(next_check_at, coalesce(lease_until, next_check_at)) END);
DROP INDEX custom_domain_asked;
CREATE INDEX custom_domain_asked ON custom_domain (account_id, asked_ready_at) WHERE asked_ready_at IS NOT NULL;
CREATE INDEX custom_domain_ready ON custom_domain (account_id, ready_at) WHERE ready_at IS NOT NULL;

-- When the first check of each account may begin: places are shared out by account, and whoever has many claims due stands
-- in nobody's way. Triggers keep it.
CREATE TABLE check_turn (
    account_id TEXT PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    asked_at   INTEGER, -- of those that the owner asks for
    due_at     INTEGER  -- of the others
) STRICT, WITHOUT ROWID;
CREATE INDEX check_turn_asked ON check_turn (asked_at) WHERE asked_at IS NOT NULL;
CREATE INDEX check_turn_due ON check_turn (due_at) WHERE due_at IS NOT NULL;
INSERT INTO check_turn SELECT account_id, min(asked_ready_at), min(ready_at) FROM custom_domain GROUP BY account_id;

CREATE TRIGGER claim_waits AFTER INSERT ON custom_domain BEGIN
    INSERT OR IGNORE INTO check_turn (account_id) VALUES (NEW.account_id);
    UPDATE check_turn SET
        asked_at = (SELECT min(asked_ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND asked_ready_at IS NOT NULL),
        due_at = (SELECT min(ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND ready_at IS NOT NULL)
    WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER claim_waits_anew AFTER UPDATE OF next_check_at, asked_at, lease_until ON custom_domain
    WHEN OLD.ready_at IS NOT NEW.ready_at OR OLD.asked_ready_at IS NOT NEW.asked_ready_at BEGIN
    UPDATE check_turn SET
        asked_at = (SELECT min(asked_ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND asked_ready_at IS NOT NULL),
        due_at = (SELECT min(ready_at) FROM custom_domain WHERE account_id = NEW.account_id AND ready_at IS NOT NULL)
    WHERE account_id = NEW.account_id;
END;
CREATE TRIGGER claim_waits_no_more AFTER DELETE ON custom_domain BEGIN
    UPDATE check_turn SET
        asked_at = (SELECT min(asked_ready_at) FROM custom_domain WHERE account_id = OLD.account_id AND asked_ready_at IS NOT NULL),
        due_at = (SELECT min(ready_at) FROM custom_domain WHERE account_id = OLD.account_id AND ready_at IS NOT NULL)
    WHERE account_id = OLD.account_id;
END;

-- Amazon SES ---------------------------------------------------------------------------------------------------------

-- `sending` is from now on: SES sends for it and signs. `return_path_ok` of a claim is never set where SES has its return path.
ALTER TABLE ses_identity ADD COLUMN mail_from TEXT; -- its MAIL FROM domain that SES uses, as it said last; NULL: SES's own
ALTER TABLE ses_identity ADD COLUMN led INTEGER NOT NULL DEFAULT 0; -- we have set its MAIL FROM domain, so we take it away
ALTER TABLE ses_identity ADD COLUMN changes INTEGER NOT NULL DEFAULT 0; -- of its claims: what was mended before one is not all
-- What SES was not asked before is asked now.
UPDATE ses_identity SET next_try_at = 0;
UPDATE custom_domain SET return_path_ok = 0 WHERE name IN (SELECT name FROM ses_identity);
DROP TRIGGER claim_leaves_ses;

-- With the last claim to its name, however it ends, the identity goes too; and its MAIL FROM domain is the verified claim's
-- return path.
CREATE TRIGGER claim_leaves_ses AFTER DELETE ON custom_domain BEGIN
    UPDATE ses_identity SET next_try_at = 0, tries = 0, changes = changes + 1
        WHERE name = OLD.name AND (OLD.return_path IS NOT NULL
            OR NOT EXISTS (SELECT 1 FROM custom_domain WHERE name = OLD.name));
END;
CREATE TRIGGER claim_leads_ses AFTER UPDATE OF return_path, status ON custom_domain
    WHEN OLD.return_path IS NOT NEW.return_path OR (NEW.return_path IS NOT NULL AND OLD.status <> NEW.status) BEGIN
    UPDATE ses_identity SET next_try_at = 0, tries = 0, changes = changes + 1 WHERE name = NEW.name;
END;

-- Evidence -----------------------------------------------------------------------------------------------------------

-- The newest evidence for each record of a domain. What servers said is long: in an index it would take a page of its own.
CREATE TABLE evidence (
    domain_id   TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    position    INTEGER NOT NULL,                   -- the DKIM records of the tokens first
    status      TEXT NOT NULL CHECK (status IN ('valid', 'missing', 'mismatch', 'unknown')),
    observed    TEXT NOT NULL,                      -- JSON array of texts
    observed_name TEXT,                             -- where, if not at the record's own name
    error       TEXT,                               -- JSON {code, message, fix, step, expected_visible_at}
    server      TEXT,                               -- the name server this rests on
    said        TEXT NOT NULL DEFAULT '[]',         -- JSON array: what each server said
    checked_at  INTEGER NOT NULL,
    fault_since INTEGER,                            -- the first of the definite faults in a row, while verified
    fault_count INTEGER NOT NULL DEFAULT 0,         -- how many in a row
    PRIMARY KEY (domain_id, position)
) STRICT;
INSERT INTO evidence
    SELECT domain_id, position, status, observed, NULL, error, server, said, checked_at, fault_since, fault_count FROM domain_record;
DROP TABLE domain_record;
ALTER TABLE evidence RENAME TO domain_record;

-- What checks of a domain found, once for all that found the same. Each is small enough for a page, and long for an index.
CREATE TABLE domain_finding (
    domain_id TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    digest    BLOB NOT NULL,            -- of the records: the first half of their SHA-256
    records   BLOB NOT NULL,            -- JSON array of the records as the API shows them, without their times; deflated
    PRIMARY KEY (domain_id, digest)
) STRICT;

-- The checks of a domain, the newest of them; they begin anew.
DROP TABLE domain_check;
CREATE TABLE domain_check (
    domain_id TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    number    INTEGER NOT NULL,         -- counts the domain's own
    at        INTEGER NOT NULL,
    status    TEXT NOT NULL,            -- of the domain, after it
    finding   BLOB NOT NULL,            -- digest of what it found
    times     BLOB NOT NULL,            -- JSON array of the times that go with that; deflated
    PRIMARY KEY (domain_id, number)
) STRICT, WITHOUT ROWID;

-- Keys ---------------------------------------------------------------------------------------------------------------

-- The public halves of keys whose claim is gone: mail that they signed is still under way. What is private went with it.
CREATE TABLE dkim_kept (
    token  TEXT PRIMARY KEY,
    public TEXT NOT NULL,
    until  INTEGER                          -- NULL: the claim went a moment ago, and nobody has noted when
) STRICT, WITHOUT ROWID;
CREATE INDEX dkim_kept_until ON dkim_kept (until);

CREATE TRIGGER claim_leaves_keys BEFORE DELETE ON custom_domain BEGIN
    INSERT OR REPLACE INTO dkim_kept (token, public) SELECT token, public FROM dkim_key WHERE domain_id = OLD.id;
END;

-- What the zone of keys holds, served or printed. The platform's key stands in its own domain.
CREATE VIEW dkim_zone AS
    SELECT token, public FROM dkim_key WHERE domain_id IS NOT NULL UNION ALL SELECT token, public FROM dkim_kept;

-- The zone's serial: raised by every change of what the zone holds, and never put back (RFC 1982). It is the time, or one
-- more than the last: so it also grows where a backup is restored.
CREATE TABLE dkim_serial (serial INTEGER NOT NULL) STRICT;
INSERT INTO dkim_serial VALUES (unixepoch());

CREATE TRIGGER key_comes AFTER INSERT ON dkim_key WHEN NEW.domain_id IS NOT NULL BEGIN
    UPDATE dkim_serial SET serial = max(serial + 1, unixepoch());
END;
CREATE TRIGGER key_changes AFTER UPDATE OF public ON dkim_key WHEN NEW.domain_id IS NOT NULL BEGIN
    UPDATE dkim_serial SET serial = max(serial + 1, unixepoch());
END;
CREATE TRIGGER key_leaves AFTER DELETE ON dkim_key WHEN OLD.domain_id IS NOT NULL BEGIN
    UPDATE dkim_serial SET serial = max(serial + 1, unixepoch());
END;
CREATE TRIGGER kept_key_leaves AFTER DELETE ON dkim_kept BEGIN
    UPDATE dkim_serial SET serial = max(serial + 1, unixepoch());
END;
