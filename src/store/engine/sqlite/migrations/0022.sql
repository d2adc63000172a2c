-- Mail leaves under it where its domain is the inbox's default.
ALTER TABLE alias ADD COLUMN is_primary INTEGER NOT NULL DEFAULT 0 CHECK (is_primary IN (0, 1));
CREATE UNIQUE INDEX one_primary_alias ON alias (inbox_id, domain_id) WHERE is_primary = 1;

-- A client's own name for what it has made: making it again makes nothing.
ALTER TABLE inbox ADD COLUMN client_id TEXT;
CREATE UNIQUE INDEX inbox_by_client_id ON inbox (account_id, client_id) WHERE client_id IS NOT NULL;
ALTER TABLE custom_domain ADD COLUMN client_id TEXT;
CREATE UNIQUE INDEX custom_domain_by_client_id ON custom_domain (account_id, client_id) WHERE client_id IS NOT NULL;
