-- The thread of a message that was sent as a part of one, for the limit on those per hour.
ALTER TABLE sent_email ADD COLUMN thread_id TEXT;
CREATE INDEX sent_email_of_thread ON sent_email (thread_id, created_at) WHERE thread_id IS NOT NULL;
