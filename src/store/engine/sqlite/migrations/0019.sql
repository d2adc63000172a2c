-- Has a row while the database is filled from another one: `inboxlayer store copy`.
CREATE TABLE incomplete_copy (source TEXT NOT NULL) STRICT;
