-- Bodies of webhooks are compressed, and what is kept for an account is bounded.
ALTER TABLE webhook_event ADD COLUMN is_packed INTEGER NOT NULL DEFAULT 0 CHECK (is_packed IN (0, 1)); -- body is compressed, without the number
ALTER TABLE webhook_event ADD COLUMN octets INTEGER NOT NULL DEFAULT 0;     -- counted for the account: the body and 2 KiB for each delivery
ALTER TABLE webhook_delivery ADD COLUMN octets INTEGER NOT NULL DEFAULT 0;  -- the body and 2 KiB
ALTER TABLE webhook_subscription ADD COLUMN since_open TEXT NOT NULL DEFAULT ''; -- positions before since_position whose events are sent too
CREATE TABLE webhook_usage (
    account_id TEXT PRIMARY KEY REFERENCES account ON DELETE CASCADE,
    octets     INTEGER NOT NULL            -- the sum of webhook_event.octets
) STRICT;
UPDATE webhook_event SET octets = length(body) + 2048 * (SELECT count(*) FROM webhook_delivery d
    WHERE d.account_id = webhook_event.account_id AND d.position = webhook_event.position AND d.number = webhook_event.number);
UPDATE webhook_delivery SET octets = 2048 + (SELECT length(e.body) FROM webhook_event e
    WHERE e.account_id = webhook_delivery.account_id AND e.position = webhook_delivery.position AND e.number = webhook_delivery.number);
INSERT INTO webhook_usage SELECT account_id, sum(octets) FROM webhook_event
    WHERE account_id IN (SELECT id FROM account) GROUP BY account_id;
DROP INDEX webhook_delivery_first;
DROP INDEX webhook_delivery_ended;
CREATE INDEX webhook_delivery_first ON webhook_delivery (webhook_id, attempts, position, number) WHERE state = 'waiting' AND attempts = 0;
CREATE INDEX webhook_delivery_again ON webhook_delivery (webhook_id, retries, position, number) WHERE state = 'waiting' AND attempts > 0;
CREATE INDEX webhook_delivery_waiting ON webhook_delivery (webhook_id, octets, state) WHERE state = 'waiting';
CREATE INDEX webhook_delivery_of_state ON webhook_delivery (webhook_id, state, position, number);
CREATE INDEX webhook_delivery_ended ON webhook_delivery (account_id, ended_at) WHERE ended_at IS NOT NULL;
