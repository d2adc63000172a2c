"""Usage: published_account.py READY.json: accounts, inboxes and custom domains through the published SDK."""

import imaplib
import smtplib
import ssl

from published_contract import both, has

OPERATIONS = ["/auth", "/me", "/password", "GET /api/v1/accounts", "/api/v1/inboxes", "/api/v1/custom_domains", "/notification_tokens"]
# Called by published_stream.py and published_mail.py.
LATER = ["/stream", "/drafts"]


def operations(operation):
    return any(part in operation for part in OPERATIONS) and not any(part in operation for part in LATER)


def users(client, ready):
    wrong = client.refused(401, "invalid_credentials", "authenticate", ready["user"], "wrong")
    assert wrong.headers["www-authenticate"], wrong.headers
    before = client.sdk.api_token
    made = client.authenticate(ready["user"], ready["password"])
    assert made["token"] != before and made["expires_at"] and made["name"], made
    me = has(client.get_me(), "User")
    assert me["email"] == ready["user"] and isinstance(me["id"], int), me
    assert client.authenticate(ready["user"], ready["password"])["token"] != made["token"]
    for change, new in [(client.patch_password, "another password"), (client.put_password, ready["password"])]:
        old = ready["password"] if new != ready["password"] else "another password"
        body = {"current_password": old, "password": new, "password_confirmation": new}
        assert change(body) == {"success": True}
    mismatch = {"current_password": new, "password": new, "password_confirmation": "other"}
    client.refused(422, "invalid_request", "patch_password", {"user": mismatch})
    assert client.delete_auth() == {"success": True}
    client.refused(401, "unauthorized", "get_me")
    client.sdk.api_token = before
    client.sdk._default_headers["Authorization"] = f"Bearer {before}"


def accounts(client, ready):
    [account] = client.list_accounts()
    has(account, "Account")
    assert account["account_id"] == ready["account_id"]


def inboxes(client, kind):
    made = has(client.create_inbox({"name": f"sdk-{kind}"}), "Inbox")
    assert made["email_address"] == made["platform_address"], made
    shown = has(client.get_inbox(made["id"], labels="inbox,unread"), "InboxEmails")
    assert shown["id"] == made["id"] and shown["emails"] == shown["data"] == [], shown
    warmup = client.warmup_inbox(made["id"])
    assert isinstance(warmup["inbox_id"], int) and warmup["warmup_started_at"] is None, warmup
    listed, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        page = client.list_inboxes(cursor=cursor, per_page=1)
        cursor, pages = page["meta"]["next_cursor"], pages + 1
        assert len(page["data"]) == 1, page
        listed += page["data"]
    assert pages == 2 and made["id"] in [inbox["id"] for inbox in listed], listed
    client.refused(409, "inbox_exists", "create_inbox", {"name": f"sdk-{kind}"})
    client.refused(422, "invalid_request", "create_inbox", {"name": "Not A Name"})
    unknown = client.refused(422, "invalid_request", "create_inbox", {"name": "a", "colour": "red"})
    assert "colour" in str(unknown), unknown
    client.refused(404, "not_found", "delete_inbox", "inb_00000000000000000000000000")
    assert client.delete_inbox(made["id"]) is None


def domains(client, kind):
    name = f"{kind}.sdk-mail.org"
    made = has(client.create_custom_domain({"domain": name}), "CustomDomain")
    client.refused(409, "domain_exists", "create_custom_domain", {"custom_domain": {"domain": name}})
    client.refused(422, "public_suffix", "create_custom_domain", {"domain": "co.uk"})
    assert [domain["id"] for domain in client.list_custom_domains()] == [made["id"]]
    assert client.get_custom_domain(made["id"]) == made
    assert client.update_custom_domain(made["id"], {"is_default": True})["is_default"] is True
    inbox = has(client.create_inbox({"name": "support", "custom_domain_id": made["id"]}), "Inbox")
    assert inbox["name"].startswith("support-") and inbox["email_address"] == inbox["platform_address"], inbox
    addresses = {address["address"]: address["status"] for address in inbox["addresses"]}
    assert addresses[f"support@{name}"] == "pending", addresses
    client.refused(409, "alias_has_name", "create_inbox", {"name": "support", "custom_domain_id": made["id"]})
    client.delete_inbox(inbox["id"])
    put = client.replace_custom_domain(made["id"], {"domain": name, "dkim_host": made["dkim_host"], "spf_host": ""})
    assert put["id"] == made["id"] and put["is_default"] is True, put
    checked = has(client.verify_custom_domain(made["id"]), "CustomDomain")
    assert checked["id"] == made["id"], checked
    client.refused(429, "too_many_requests", "verify_custom_domain", made["id"])
    client.refused(404, "not_found", "get_custom_domain", "dom_00000000000000000000000000")
    assert client.delete_custom_domain(made["id"]) is None
    assert client.list_custom_domains() == []


def devices(client, kind):
    made = client.create_notification_token({"token": f"device-{kind}", "platform": "ios"})
    assert made["success"] is True and made["platform"] == "ios", made
    again = client.create_notification_token({"token": f"device-{kind}", "platform": "android"})
    assert (again["id"], again["platform"]) == (made["id"], "android"), again
    client.refused(422, "invalid_request", "create_notification_token", {"token": ""})


def limited_tokens(ready):
    """A token's permissions hold over SMTP and IMAP: a message is read, and neither changed nor sent."""
    import json
    import urllib.request

    def token(permissions):
        headers = {"Authorization": f"Bearer {ready['token']}", "Content-Type": "application/json"}
        body = json.dumps({"permissions": permissions}).encode()
        return json.load(urllib.request.urlopen(urllib.request.Request(f"{ready['http']}/api/v1/tokens", body, headers)))["token"]

    tls = ssl.create_default_context(cafile=ready["ca"])

    def imap(password):
        host, port = ready["imaps"].rsplit(":", 1)
        client = imaplib.IMAP4_SSL(host, int(port), ssl_context=tls)
        client.login(ready["inbox"], password)
        return client

    def smtp(password):
        host, port = ready["submissions"].rsplit(":", 1)
        client = smtplib.SMTP_SSL(host, int(port), context=tls)
        client.login(ready["inbox"], password)
        return client

    for permissions, protocol in [(["drafts:write", "messages:read"], smtp), (["drafts:write"], imap)]:
        try:
            protocol(token(permissions))
        except (smtplib.SMTPAuthenticationError, imaplib.IMAP4.error):
            continue
        raise AssertionError(f"{protocol.__name__} with {permissions}")
    smtp(token(["messages:send"])).quit()
    reader = imap(token(["messages:read"]))
    try:
        reader.select("INBOX")
        raise AssertionError("INBOX is writable")
    except reader.readonly:
        # It refuses to go on with that one.
        reader = imap(token(["messages:read"]))
    status, [text] = reader.append("INBOX", None, None, b"Subject: x\r\n\r\nx\r\n")
    assert (status, b"NOPERM" in text) == ("NO", True), text
    assert reader.create("New")[0] == "NO"
    reader.logout()


def scenario(client, ready, kind):
    users(client, ready)
    accounts(client, ready)
    inboxes(client, kind)
    domains(client, kind)
    devices(client, kind)


limited_tokens(both(scenario, operations))
