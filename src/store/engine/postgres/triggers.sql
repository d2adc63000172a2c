-- What SQLite's schema does in triggers, until the program does it.

CREATE FUNCTION drop_content(which BIGINT) RETURNS VOID LANGUAGE sql AS $$
    DELETE FROM content WHERE id = which
        AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = which)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = which)
        AND NOT EXISTS (SELECT 1 FROM submission WHERE outgoing_id = which)
$$;

CREATE FUNCTION submission_leaves() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    PERFORM drop_content(OLD.original_id);
    PERFORM drop_content(OLD.outgoing_id);
    UPDATE account SET queued = queued - OLD.octets WHERE id = OLD.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER submission_leaves AFTER DELETE ON submission FOR EACH ROW EXECUTE FUNCTION submission_leaves();

CREATE FUNCTION submission_rewritten() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    PERFORM drop_content(OLD.outgoing_id);
    RETURN NULL;
END $$;
CREATE TRIGGER submission_rewritten AFTER UPDATE OF outgoing_id ON submission FOR EACH ROW
    WHEN (OLD.outgoing_id <> NEW.outgoing_id) EXECUTE FUNCTION submission_rewritten();

CREATE FUNCTION submission_counted() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    UPDATE account SET queued = queued + NEW.octets WHERE id = NEW.account_id;
    RETURN NULL;
END $$;
CREATE TRIGGER submission_counted AFTER INSERT ON submission FOR EACH ROW EXECUTE FUNCTION submission_counted();

CREATE FUNCTION content_leaves() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    DELETE FROM body WHERE id = OLD.body_id AND NOT EXISTS (SELECT 1 FROM content WHERE body_id = OLD.body_id);
    RETURN NULL;
END $$;
CREATE TRIGGER content_leaves AFTER DELETE ON content FOR EACH ROW EXECUTE FUNCTION content_leaves();

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

-- Counts.

-- Adds a message to what a row of mailbox counts, or takes it away (-1).
CREATE FUNCTION count_in_mailbox(m message, sign BIGINT) RETURNS VOID LANGUAGE sql AS $$
    UPDATE mailbox SET messages = messages + sign, unseen = unseen + sign * CASE WHEN m.flags & 1 = 0 THEN 1 ELSE 0 END,
        recent = recent + sign * CASE WHEN m.uid + uid_offset >=
            coalesce((SELECT p.recent_from FROM mailbox p WHERE p.id = mailbox.part_of), recent_from) THEN 1 ELSE 0 END,
        size = size + sign * (SELECT c.size FROM content c WHERE c.id = m.content_id)
    WHERE id = m.mailbox_id
$$;

-- The same of an inbox: each message counts 256 octets, and its keywords.
CREATE FUNCTION count_in_inbox(m message, sign BIGINT) RETURNS VOID LANGUAGE sql AS $$
    UPDATE inbox SET messages = messages + sign,
        size = size + sign * ((SELECT c.size FROM content c WHERE c.id = m.content_id) + 256 + octet_length(m.keywords))
    WHERE id = m.inbox_id
$$;

CREATE FUNCTION count_keywords(m message, sign BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
    IF m.keywords = '' THEN
        RETURN;
    END IF;
    IF sign > 0 THEN
        INSERT INTO mailbox_keyword (mailbox_id, keyword, messages)
            SELECT DISTINCT m.mailbox_id, lower(word), 1 FROM unnest(string_to_array(m.keywords, ' ')) word
            ON CONFLICT (mailbox_id, keyword) DO UPDATE SET messages = mailbox_keyword.messages + 1;
    ELSE
        UPDATE mailbox_keyword SET messages = messages - 1 WHERE mailbox_id = m.mailbox_id
            AND keyword IN (SELECT lower(word) FROM unnest(string_to_array(m.keywords, ' ')) word);
        DELETE FROM mailbox_keyword WHERE mailbox_id = m.mailbox_id AND messages < 1;
    END IF;
END $$;

CREATE FUNCTION message_comes() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    PERFORM count_in_inbox(NEW, 1);
    PERFORM count_in_mailbox(NEW, 1);
    PERFORM count_keywords(NEW, 1);
    RETURN NULL;
END $$;
CREATE TRIGGER message_comes AFTER INSERT ON message FOR EACH ROW EXECUTE FUNCTION message_comes();

CREATE FUNCTION message_leaves() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    PERFORM count_in_inbox(OLD, -1);
    PERFORM count_in_mailbox(OLD, -1);
    PERFORM count_keywords(OLD, -1);
    PERFORM drop_content(OLD.content_id);
    RETURN NULL;
END $$;
CREATE TRIGGER message_leaves AFTER DELETE ON message FOR EACH ROW EXECUTE FUNCTION message_leaves();

CREATE FUNCTION message_changes() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
    IF OLD.mailbox_id <> NEW.mailbox_id THEN
        PERFORM count_in_mailbox(OLD, -1);
        PERFORM count_in_mailbox(NEW, 1);
    ELSIF OLD.flags & 1 <> NEW.flags & 1 THEN
        UPDATE mailbox SET unseen = unseen + CASE WHEN NEW.flags & 1 = 0 THEN 1 ELSE -1 END WHERE id = NEW.mailbox_id;
    END IF;
    IF OLD.keywords <> NEW.keywords THEN
        UPDATE inbox SET size = size + octet_length(NEW.keywords) - octet_length(OLD.keywords) WHERE id = NEW.inbox_id;
    END IF;
    IF OLD.keywords <> NEW.keywords OR OLD.mailbox_id <> NEW.mailbox_id THEN
        PERFORM count_keywords(OLD, -1);
        PERFORM count_keywords(NEW, 1);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER message_changes AFTER UPDATE OF mailbox_id, uid, flags, keywords ON message
    FOR EACH ROW EXECUTE FUNCTION message_changes();

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
        DELETE FROM submission WHERE id = OLD.submission_id
            AND NOT EXISTS (SELECT 1 FROM delivery WHERE submission_id = OLD.submission_id);
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
