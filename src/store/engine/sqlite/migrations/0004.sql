-- Which claim takes a name's mail; limits of what an account makes.

-- Custom domains -----------------------------------------------------------------------------------------------------

-- It is verified, or has failed by a fault of its own records since, and no other claim to the name has been verified after it.
ALTER TABLE custom_domain RENAME COLUMN ever_verified TO takes_mail;
UPDATE custom_domain SET takes_mail = status = 'verified' OR (verified_at IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM custom_domain other WHERE other.name = custom_domain.name AND other.id <> custom_domain.id
        AND other.verified_at IS NOT NULL AND (other.status = 'verified'
            OR (other.verified_at, other.id) > (custom_domain.verified_at, custom_domain.id)))
    AND NOT EXISTS (SELECT 1 FROM domain_event e WHERE e.domain_id = custom_domain.id AND e.cause ->> 'cause' = 'records_gone'
        AND e.number > (SELECT coalesce(max(number), 0) FROM domain_event v
                        WHERE v.domain_id = custom_domain.id AND v.to_status = 'verified')));
CREATE UNIQUE INDEX one_claim_takes_mail ON custom_domain (name) WHERE takes_mail = 1;

-- Keys and mail ------------------------------------------------------------------------------------------------------

-- A claim that was never verified has signed nothing: its keys go with it.
DROP TRIGGER claim_leaves_keys;
CREATE TRIGGER claim_leaves_keys BEFORE DELETE ON custom_domain WHEN OLD.verified_at IS NOT NULL BEGIN
    INSERT OR REPLACE INTO dkim_kept (token, public) SELECT token, public FROM dkim_key WHERE domain_id = OLD.id;
END;

-- The header block that leaves has no signature yet, since the key of its domain was still being made.
ALTER TABLE submission ADD COLUMN is_unsigned INTEGER NOT NULL DEFAULT 0;
