-- What triggers did is done by the program: see the migration 0018 of SQLite. A program that relies on the triggers must not work on this schema.

DROP FUNCTION claim_leaves() CASCADE;
DROP FUNCTION claim_leads() CASCADE;
DROP FUNCTION zone_changes() CASCADE;
DROP FUNCTION claim_leaves_keys() CASCADE;
DROP FUNCTION delivery_changes() CASCADE;
DROP FUNCTION claim_changes() CASCADE;
DROP FUNCTION rotation_changes() CASCADE;
DROP FUNCTION note_due(TEXT, TEXT);
DROP FUNCTION note_added(TEXT, TEXT, BIGINT);
