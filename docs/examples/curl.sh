#!/usr/bin/env bash
# Waits for a one-time code and answers the email, with curl and sed. Needs INBOXLAYER_URL and INBOXLAYER_TOKEN.
set -euo pipefail

api() { curl -sS --fail-with-body -H "Authorization: Bearer $INBOXLAYER_TOKEN" -H 'Content-Type: application/json' "$@"; }
# The first value of a field.
field() { sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p" | head -1; }

name=agent-$RANDOM$RANDOM
inbox=$(api "$INBOXLAYER_URL/api/v1/inboxes" -d "{\"name\": \"$name\"}" | sed 's/,/\n/g')
id=$(grep -o '"id":"inb_[^"]*"' <<<"$inbox" | field id)
service=$(api "$INBOXLAYER_URL/api/v1/inboxes" -d "{\"name\": \"service-$name\"}" | grep -o '"id":"inb_[^"]*"' | field id)
address=$(field email_address <<<"$inbox")

since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
# What a service would send that somebody signs up at.
api "$INBOXLAYER_URL/api/v1/emails/send" -H "Idempotency-Key: sign-up-$name" \
    -d "{\"inbox_id\": \"$service\", \"to\": \"$address\", \"subject\": \"Sign up\", \"text_body\": \"Your code is 482913.\"}" >/dev/null

# Waits for the first email with a code, also one that has arrived already.
found=$(api "$INBOXLAYER_URL/api/v1/inboxes/$id/wait?has=code&since=$since&timeout=60")
email=$(grep -o '"id":"msg_[^"]*"' <<<"$found" | field id)
echo "code: $(sed 's/,/\n/g' <<<"$found" | field code)"

echo "reply: $(api "$INBOXLAYER_URL/api/v1/emails/$email/reply" -d '{"text_body": "Thank you."}' | field status)"
api -X PATCH "$INBOXLAYER_URL/api/v1/emails/$email/actions" -d '{"mark_read": true, "move_to": "archive"}' >/dev/null
