-- What triggers did is done by the program: when accounts' work is due (store/due.rs), what claims leave behind and Amazon SES has to follow
-- (store/claim_rows.rs), and the serial of the DKIM keys' zone (store/keys.rs).

DROP TRIGGER claim_leaves_ses;
DROP TRIGGER claim_leads_ses;
DROP TRIGGER key_comes;
DROP TRIGGER key_changes;
DROP TRIGGER key_leaves;
DROP TRIGGER kept_key_leaves;
DROP TRIGGER claim_leaves_keys;
DROP TRIGGER delivery_added;
DROP TRIGGER delivery_moved;
DROP TRIGGER delivery_removed;
DROP TRIGGER claim_added;
DROP TRIGGER claim_moved;
DROP TRIGGER claim_removed;
DROP TRIGGER rotation_added;
DROP TRIGGER rotation_moved;
DROP TRIGGER rotation_removed;
