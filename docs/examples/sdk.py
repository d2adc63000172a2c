"""Waits for a one-time code and answers the email, with the published SDK: pip install inboxlayer-sdk.

Needs INBOXLAYER_URL and INBOXLAYER_TOKEN.
"""

import os
import secrets
import time

import httpx
from inboxlayer_sdk import InboxLayerClient

url, token = os.environ["INBOXLAYER_URL"], os.environ["INBOXLAYER_TOKEN"]
client = InboxLayerClient(base_url=url, api_token=token)
name = f"agent-{secrets.token_hex(6)}"
inbox = client.create_inbox({"name": name})

# What a service would send that somebody signs up at.
message = {"inbox_id": inbox["id"], "to": inbox["email_address"], "subject": "Sign up", "text_body": "Your code is 482913."}
client.send_email(message)


def first_email():
    """Waits for the first email in INBOX."""
    for _ in range(60):
        emails = [email for email in client.list_emails(inbox=inbox["id"])["emails"] if "inbox" in email["labels"]]
        if emails:
            return emails[0]["id"]
        time.sleep(1)
    raise TimeoutError("no email came")


email = first_email()
# The whole email is not among the SDK's methods.
whole = httpx.get(f"{url}/api/v1/emails/{email}", headers={"Authorization": f"Bearer {token}"}).raise_for_status().json()
print("code:", whole["codes"][0]["code"])
print("reply:", client.reply_email(email, {"text_body": "Thank you."})["status"])
client.apply_email_actions(email, {"mark_read": True, "move_to": "archive"})
