-- What SQLite's schema does in triggers, until the program does it.

-- Amazon SES, and the zone of the DKIM keys.

CREATE FUNCTION claim_leaves() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    UPDATE ses_identity SET next_try_at = 0, tries = 0, changes = changes + 1
        WHERE name = OLD.name AND (OLD.return_path IS NOT NULL
            OR NOT EXISTS (SELECT 1 FROM custom_domain WHERE name = OLD.name));
    RETURN NULL;
END $$;
CREATE TRIGGER claim_leaves_ses AFTER DELETE ON custom_domain FOR EACH ROW EXECUTE FUNCTION claim_leaves();

CREATE FUNCTION claim_leads() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    UPDATE ses_identity SET next_try_at = 0, tries = 0, changes = changes + 1 WHERE name = NEW.name;
    RETURN NULL;
END $$;
CREATE TRIGGER claim_leads_ses AFTER UPDATE OF return_path, status ON custom_domain FOR EACH ROW
    WHEN (OLD.return_path IS DISTINCT FROM NEW.return_path OR (NEW.return_path IS NOT NULL AND OLD.status <> NEW.status))
    EXECUTE FUNCTION claim_leads();

CREATE FUNCTION zone_changes() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    UPDATE dkim_serial SET serial = greatest(serial + 1, CAST(extract(epoch FROM now()) AS BIGINT));
    RETURN NULL;
END $$;
CREATE TRIGGER key_comes AFTER INSERT ON dkim_key FOR EACH ROW
    WHEN (NEW.domain_id IS NOT NULL) EXECUTE FUNCTION zone_changes();
CREATE TRIGGER key_changes AFTER UPDATE OF public ON dkim_key FOR EACH ROW
    WHEN (NEW.domain_id IS NOT NULL) EXECUTE FUNCTION zone_changes();
CREATE TRIGGER key_leaves AFTER DELETE ON dkim_key FOR EACH ROW
    WHEN (OLD.domain_id IS NOT NULL) EXECUTE FUNCTION zone_changes();
CREATE TRIGGER kept_key_leaves AFTER DELETE ON dkim_kept FOR EACH ROW EXECUTE FUNCTION zone_changes();

CREATE FUNCTION claim_leaves_keys() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO dkim_kept (token, public) SELECT token, public FROM dkim_key WHERE domain_id = OLD.id
        ON CONFLICT (token) DO UPDATE SET public = excluded.public, until = NULL;
    RETURN OLD;
END $$;
CREATE TRIGGER claim_leaves_keys BEFORE DELETE ON custom_domain FOR EACH ROW
    WHEN (OLD.verified_at IS NOT NULL) EXECUTE FUNCTION claim_leaves_keys();

-- Whose work is due.

CREATE FUNCTION note_due(what TEXT, whose TEXT) RETURNS VOID LANGUAGE sql AS $$
    UPDATE due_account SET due_at = CASE what
        WHEN 'delivery' THEN (SELECT min(ready_at) FROM delivery WHERE account_id = whose AND ready_at IS NOT NULL)
        WHEN 'rotation' THEN (SELECT min(ready_at) FROM dkim_rotation WHERE account_id = whose)
        WHEN 'check' THEN (SELECT min(ready_at) FROM custom_domain WHERE account_id = whose AND ready_at IS NOT NULL)
        ELSE (SELECT min(asked_ready_at) FROM custom_domain WHERE account_id = whose AND asked_ready_at IS NOT NULL) END
    WHERE kind = what AND account_id = whose
$$;

CREATE FUNCTION note_added(what TEXT, whose TEXT, at BIGINT) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO due_account (kind, account_id, due_at) VALUES (what, whose, at)
        ON CONFLICT (kind, account_id) DO UPDATE SET due_at = excluded.due_at
            WHERE due_account.due_at IS NULL OR due_account.due_at > excluded.due_at
$$;

CREATE FUNCTION delivery_changes() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.ready_at IS NOT NULL THEN
            PERFORM note_added('delivery', NEW.account_id, NEW.ready_at);
        END IF;
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.ready_at IS DISTINCT FROM NEW.ready_at THEN
            PERFORM note_due('delivery', NEW.account_id);
        END IF;
    ELSE
        IF OLD.ready_at IS NOT NULL THEN
            PERFORM note_due('delivery', OLD.account_id);
        END IF;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER delivery_changes AFTER INSERT OR DELETE OR UPDATE OF next_attempt_at, lease_until ON delivery
    FOR EACH ROW EXECUTE FUNCTION delivery_changes();

CREATE FUNCTION claim_changes() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO due_account (kind, account_id) VALUES ('requested_check', NEW.account_id), ('check', NEW.account_id)
            ON CONFLICT DO NOTHING;
        PERFORM note_due('check', NEW.account_id);
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.ready_at IS DISTINCT FROM NEW.ready_at OR OLD.asked_ready_at IS DISTINCT FROM NEW.asked_ready_at THEN
            PERFORM note_due('check', NEW.account_id), note_due('requested_check', NEW.account_id);
        END IF;
    ELSE
        PERFORM note_due('check', OLD.account_id), note_due('requested_check', OLD.account_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER claim_changes AFTER INSERT OR DELETE OR UPDATE OF next_check_at, asked_at, lease_until ON custom_domain
    FOR EACH ROW EXECUTE FUNCTION claim_changes();

CREATE FUNCTION rotation_changes() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM note_added('rotation', NEW.account_id, NEW.ready_at);
    ELSIF TG_OP = 'UPDATE' THEN
        IF OLD.ready_at IS DISTINCT FROM NEW.ready_at THEN
            PERFORM note_due('rotation', NEW.account_id);
        END IF;
    ELSE
        PERFORM note_due('rotation', OLD.account_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER rotation_changes AFTER INSERT OR DELETE OR UPDATE OF due_at, lease_until ON dkim_rotation
    FOR EACH ROW EXECUTE FUNCTION rotation_changes();
