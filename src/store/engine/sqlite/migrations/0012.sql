-- What was found of a record stands under the record's key, its purpose and its name, and no longer under its position.

CREATE TABLE evidence (
    domain_id     TEXT NOT NULL REFERENCES custom_domain ON DELETE CASCADE,
    purpose       TEXT NOT NULL CHECK (purpose IN ('dkim', 'mx', 'spf', 'dmarc', 'ownership', 'return_path', 'return_path_spf')),
    name          TEXT NOT NULL,                      -- the record's full name
    status        TEXT NOT NULL CHECK (status IN ('valid', 'missing', 'mismatch', 'unknown')),
    observed      TEXT NOT NULL,                      -- JSON array of texts
    observed_name TEXT,                               -- where they were seen, if not at the record's own name
    error         TEXT,                               -- JSON {code, message, fix, step, expected_visible_at}
    server        TEXT,                               -- the name server this rests on
    said          TEXT NOT NULL DEFAULT '[]',         -- JSON array: what each server said
    checked_at    INTEGER NOT NULL,
    fault_since   INTEGER,                            -- the first of the definite faults in a row, while verified
    fault_count   INTEGER NOT NULL DEFAULT 0,         -- how many in a row
    PRIMARY KEY (domain_id, purpose, name)
) STRICT;

-- The DKIM records of the three tokens stood first, then MX, SPF and DMARC, the record of ownership where it is asked for, and
-- the two records of the return path.
WITH placed AS (
    SELECT r.*, d.name AS domain, d.return_path,
        '["' || replace(d.dkim_tokens, ' ', '","') || '"]' AS tokens,
        CASE
            WHEN r.position < 3 THEN 'dkim'
            WHEN r.position = 3 THEN 'mx'
            WHEN r.position = 4 THEN 'spf'
            WHEN r.position = 5 THEN 'dmarc'
            WHEN r.position = 6 AND d.contested_at IS NOT NULL AND d.ownership_secret IS NOT NULL THEN 'ownership'
            WHEN r.position - (d.contested_at IS NOT NULL AND d.ownership_secret IS NOT NULL) = 6 THEN 'return_path'
            ELSE 'return_path_spf'
        END AS purpose
    FROM domain_record r JOIN custom_domain d ON d.id = r.domain_id
), named AS (
    SELECT *, CASE purpose
            WHEN 'dkim' THEN json_extract(tokens, '$[' || position || ']') || '._domainkey.' || domain
            WHEN 'dmarc' THEN '_dmarc.' || domain
            WHEN 'ownership' THEN '_inboxlayer.' || domain
            WHEN 'return_path' THEN return_path || '.' || domain
            WHEN 'return_path_spf' THEN return_path || '.' || domain
            ELSE domain
        END AS record_name
    FROM placed
)
INSERT INTO evidence (domain_id, purpose, name, status, observed, observed_name, error, server, said, checked_at, fault_since, fault_count)
    SELECT domain_id, purpose, record_name, status, observed, observed_name, error, server, said, checked_at, fault_since, fault_count
    FROM named WHERE record_name IS NOT NULL;
DROP TABLE domain_record;
ALTER TABLE evidence RENAME TO domain_record;

-- Changes of status name their records in the same way: {record: "name TYPE", ...} gets the purpose and the name.
UPDATE domain_event SET cause = json_set(cause, '$.records', json((
    SELECT json_group_array(json_set(r.value,
        '$.purpose', CASE
            WHEN r.value ->> 'record' LIKE '% CNAME' THEN 'dkim'
            WHEN r.value ->> 'record' LIKE '\_dmarc.%' ESCAPE '\' THEN 'dmarc'
            WHEN r.value ->> 'record' LIKE '\_inboxlayer.%' ESCAPE '\' THEN 'ownership'
            WHEN r.value ->> 'record' = d.name || ' MX' THEN 'mx'
            WHEN r.value ->> 'record' = d.name || ' TXT' THEN 'spf'
            ELSE 'return_path'
        END,
        '$.name', substr(r.value ->> 'record', 1, instr(r.value ->> 'record', ' ') - 1)))
    FROM json_each(domain_event.cause, '$.records') r WHERE r.type = 'object')))
FROM custom_domain d
WHERE d.id = domain_event.domain_id AND json_array_length(domain_event.cause, '$.records') > 0;
