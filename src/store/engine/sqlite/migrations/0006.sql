-- Messages that were being read when the daemon aborted.

CREATE TABLE unreadable (
    content_id INTEGER PRIMARY KEY REFERENCES content ON DELETE CASCADE,
    aborts     INTEGER NOT NULL, -- daemons that ended while they read it
    is_aside   INTEGER NOT NULL  -- no parser may see it
) STRICT;
