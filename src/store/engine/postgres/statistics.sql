-- Counts of emails over time (docs/decisions/0028-statistics-from-the-event-log.md).
CREATE INDEX event_of_email ON event (account_id, kind, at)
    WHERE kind = 'email_accepted' OR kind = 'email_delivered' OR kind = 'email_deferred' OR kind = 'email_bounced' OR kind = 'message_received';
