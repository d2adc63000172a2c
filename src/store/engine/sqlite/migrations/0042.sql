-- Documents whose trigrams include those of folded texts (message/casemap.rs). The others may contain any text that IMAP looks for.
ALTER TABLE search_document ADD COLUMN is_folded INTEGER NOT NULL DEFAULT 0 CHECK (is_folded IN (0, 1));
CREATE INDEX search_document_unfolded ON search_document (number) WHERE is_folded = 0;
