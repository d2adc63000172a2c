"""Usage: published_webhooks.py READY.json DELIVERIES.json RECEIVED.py: webhooks through the published SDK, verified by its function and by the
example of the guide.

What was sent is written to DELIVERIES.json, with the secret that is right for it.
"""

import json
import queue
import runpy
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from inboxlayer_sdk import verify_webhook_signature
from published_contract import both, has
from standardwebhooks import WebhookVerificationError

received = runpy.run_path(sys.argv[3])["received"]
requests = queue.Queue()
deliveries = []


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        requests.put(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def verified(secret, kind):
    """The next request, which is signed with the secret."""
    headers, body = requests.get(timeout=60)
    assert verify_webhook_signature(body, headers["x-signature"], secret), headers
    assert not verify_webhook_signature(body + " ", headers["x-signature"], secret)
    event = received(headers, body, secret)
    assert event["type"] == kind and event["id"] == headers["webhook-id"], body
    try:
        received(headers, body, "whsec_" + "A" * 44)
        raise AssertionError("another secret verifies")
    except WebhookVerificationError:
        pass
    deliveries.append({"headers": headers, "body": body, "secret": secret})
    return event


def scenario(client, ready, kind):
    url = f"http://127.0.0.1:{server.server_port}/{kind}"
    made = has(client.create_webhook_subscription({"url": url, "events": ["email.received"], "active": True}), "WebhookSubscription")
    secret = made.pop("secret")
    assert secret.startswith("whsec_") and made["events"] == ["email.received"] and made["active"] is True, made
    assert [one["id"] for one in client.list_webhook_subscriptions()] == [made["id"]]
    assert client.get_webhook_subscription(made["id"]) == made
    refused = client.refused(422, "invalid_request", "create_webhook_subscription", {"url": url, "events": ["email.read"]})
    assert "email.received" in str(refused), refused
    client.refused(422, "invalid_request", "create_webhook_subscription", {"url": "ftp://x.test/"})
    # An account has one test a second.
    time.sleep(1.1)
    assert client.test_webhook_subscription(made["id"])["success"] is True
    verified(secret, "test")

    inbox = client.create_inbox({"name": f"hooked-{kind}"})["id"]
    client.create_email({"inbox_id": inbox, "from": "bo@outside.test", "to": "x@inboxlayer.dev", "subject": "Your code", "text_body": "The code is 482913. ü"})
    event = verified(secret, "email.received")
    assert (event["inbox_id"], event["data"]["subject"]) == (inbox, "Your code"), event

    updated = client.update_webhook_subscription(made["id"], {"webhook_subscription": {"events": ["email.received", "email.labels_changed"]}})
    assert updated["events"] == ["email.received", "email.labels_changed"] and updated["url"] == url, updated
    [email] = client.list_emails(inbox=inbox)["emails"]
    client.patch_email(email["id"], {"add_labels": ["urgent"]})
    event = verified(secret, "email.labels_changed")
    assert event["inbox_id"] == inbox, event

    paused = client.replace_webhook_subscription(made["id"], {"url": url, "events": ["email.received"], "active": False})
    assert paused["active"] is False, paused
    client.refused(404, "not_found", "get_webhook_subscription", "whk_00000000000000000000000000")
    assert client.delete_webhook_subscription(made["id"]) is None
    client.refused(404, "not_found", "get_webhook_subscription", made["id"])
    assert client.list_webhook_subscriptions() == [] and requests.empty()


server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
threading.Thread(target=server.serve_forever, daemon=True).start()
both(scenario, lambda operation: "/webhook_subscriptions" in operation)
json.dump(deliveries, open(sys.argv[2], "w"))
