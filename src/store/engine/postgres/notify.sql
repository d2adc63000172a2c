-- Delivery status notifications (RFC 3461): what MAIL and RCPT ask for. NULL: not given.
ALTER TABLE submission ADD COLUMN ret TEXT;                -- 'FULL' | 'HDRS'
ALTER TABLE submission ADD COLUMN envelope_id TEXT;        -- xtext
ALTER TABLE delivery ADD COLUMN notify SMALLINT;           -- bits: 1 success, 2 failure, 4 delay; 0: never
ALTER TABLE delivery ADD COLUMN original_recipient TEXT;   -- type;xtext
ALTER TABLE delivery ADD COLUMN delay_reported SMALLINT NOT NULL DEFAULT 0 CHECK (delay_reported IN (0, 1));
