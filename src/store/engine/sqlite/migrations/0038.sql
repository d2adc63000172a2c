-- Messages with \Deleted, for STATUS and EXPUNGE: few at a time, so the index is small. Queries use `mailbox_id + 0` too: SQLite would
-- prefer the primary key, and read the whole mailbox.
CREATE INDEX message_deleted ON message ((mailbox_id + 0), uid) WHERE flags & 8 = 8;
