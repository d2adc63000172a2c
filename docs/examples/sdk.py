"""Waits for a one-time code and answers the email, with the published SDK: pip install inboxlayer-sdk.

Needs INBOXLAYER_URL and INBOXLAYER_TOKEN.
"""

import os
import secrets
from datetime import datetime, timezone

from inboxlayer_sdk import InboxLayerClient

url, token = os.environ["INBOXLAYER_URL"], os.environ["INBOXLAYER_TOKEN"]
client = InboxLayerClient(base_url=url, api_token=token)
name = f"agent-{secrets.token_hex(6)}"
inbox = client.create_inbox({"name": name})
service = client.create_inbox({"name": f"service-{name}"})

since = datetime.now(timezone.utc)
# What a service would send that somebody signs up at.
message = {"inbox_id": service["id"], "to": inbox["email_address"], "subject": "Sign up", "text_body": "Your code is 482913."}
client.send_email(message)


def first_email():
    """Waits for the first email with a code, also one that has arrived already."""
    for event in client.stream_inbox_events(inbox["id"], since=since, timeout=60):
        data = event.json()["data"]
        if event.event == "email.received" and data["codes"]:
            return data["id"], data["codes"][0]["code"]
    raise TimeoutError("no email came")


email, code = first_email()
print("code:", code)
print("reply:", client.reply_email(email, {"text_body": "Thank you."})["status"])
client.apply_email_actions(email, {"mark_read": True, "move_to": "archive"})
