-- What lists show of headers, decoded: JSON of `message::overview::Overview`. The index of searches adds them; without one the header is parsed.
CREATE TABLE overview (
    content_id INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE,
    fields     TEXT NOT NULL
) STRICT;
