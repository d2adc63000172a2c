-- What is counted with messages and submissions, and what goes with the last reference to it, is the program's to keep
-- (store/message_rows.rs, store/content.rs, store/queue), in the same transaction.

DROP TRIGGER message_counted;
DROP TRIGGER message_is_seen;
DROP TRIGGER message_leaves;
DROP TRIGGER message_moves;
DROP TRIGGER message_row_counted;
DROP TRIGGER message_row_leaves;
DROP TRIGGER keywords_sized;
DROP TRIGGER keywords_come;
DROP TRIGGER keywords_go;
DROP TRIGGER keywords_change;
DROP TRIGGER content_leaves;
DROP TRIGGER delivery_leaves;
DROP TRIGGER submission_counted;
DROP TRIGGER submission_leaves;
DROP TRIGGER submission_rewritten;
DROP TRIGGER submission_uncounted;
