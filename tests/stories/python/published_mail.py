"""Usage: published_mail.py READY.json: emails, drafts, labels and threads through the published SDK."""

from published_contract import both, has

OPERATIONS = ["/api/v1/emails", "/drafts", "/api/v1/mailbox_labels", "/api/v1/email_threads"]


def operations(operation):
    return any(part in operation for part in OPERATIONS)


def emails(client, inbox, kind):
    made = client.create_email({"inbox_id": inbox, "from": "bo@outside.test", "to": "x@inboxlayer.dev", "subject": f"Hello {kind}", "text_body": "At noon?"})
    [email] = client.list_emails(inbox=inbox)["emails"]
    assert email["id"] == has(email, "Email")["id"] == made["job"]
    assert (email["subject"], email["from_address"]) == (f"Hello {kind}", "bo@outside.test")
    assert "urgent" in client.patch_email(email["id"], {"add_labels": ["urgent"]})["labels"]
    assert "urgent" not in client.put_email(email["id"], {"remove_labels": ["urgent"]})["labels"]
    read = client.apply_email_actions(email["id"], {"mark_read": True, "move_to": "archive"})
    assert read["labels"] == ["archive"], read
    client.refused(400, "invalid_request", "apply_email_actions", email["id"], {"move_to": "nowhere"})
    client.refused(404, "not_found", "patch_email", "msg_00000000000000000000000000", {})
    client.refused(422, "invalid_request", "list_emails")

    sent = client.send_email({"inbox_id": inbox, "to": ["ann@outside.test"], "subject": f"Sent {kind}", "text_body": "x", "message_type": "note"})
    assert sent["id"] in [found["id"] for found in client.list_emails(inbox=inbox)["data"]]
    client.refused(400, "invalid_request", "send_email", {"inbox_id": inbox, "subject": "nobody", "text_body": "x"})
    reply = client.reply_email(email["id"], {"text_body": "Yes."})
    forward = client.forward_email(email["id"], {"to": "cy@outside.test"})
    assert len({sent["id"], reply["id"], forward["id"]}) == 3 and reply["message_id"] and forward["status"]
    found = client.search_emails(f'"hello {kind}"')["data"]
    assert email["id"] in [one["id"] for one in found], found
    client.refused(400, "invalid_request", "search_emails", "")
    return reply["id"]


def threads(client, reply):
    listed = client.list_threads()["data"]
    [thread] = [thread for thread in listed if reply in thread["last_email_id"]] or listed[:1]
    whole = client.get_email_thread(has(thread, "EmailThread")["id"])
    assert whole["email_count"] == len(whole["emails"]) >= 1, whole


def drafts(client, inbox):
    for names, arguments in [("inbox_", (inbox,)), ("", ())]:
        call = lambda verb, *more: getattr(client, verb.format(names))(*arguments, *more)
        payload = {"to": "ann@outside.test", "subject": "Draft", "text_body": "x"}
        made = call("create_{}draft", payload if names else {**payload, "inbox_id": inbox})
        assert has(made, "Draft")["to"] == ["ann@outside.test"] and made["inbox_id"] == inbox
        assert call("update_{}draft", made["id"], {"subject": "Changed"})["subject"] == "Changed"
        replaced = call("replace_{}draft", made["id"], {"to": ["cy@outside.test"]})
        assert (replaced["to_address"], replaced["subject"]) == ("cy@outside.test", "Changed")
        assert call("get_{}draft", made["id"])["id"] == made["id"]
        listed = call("list_{}drafts")
        assert listed["count"] == 1 and listed["drafts"] == listed["data"], listed
        sent = call("send_{}draft", made["id"])
        assert sent["status"] and client.refused(404, "not_found", f"get_{names}draft", *arguments, made["id"])
        gone = call("create_{}draft", payload if names else {**payload, "inbox_id": inbox})
        assert call("delete_{}draft", gone["id"]) is None and call("list_{}drafts")["count"] == 0


def labels(client, kind):
    made = client.create_mailbox_label({"name": f"Needs {kind}", "color": "#ff8800"})
    assert has(made, "MailboxLabel")["slug"] == f"needs-{kind}" and made["system"] is False
    assert client.update_mailbox_label(made["id"], {"name": "Renamed"})["name"] == "Renamed"
    assert client.replace_mailbox_label(made["id"], {"color": "red"})["color"] == "red"
    assert made["id"] in [label["id"] for label in client.list_mailbox_labels()["data"]]
    assert client.delete_mailbox_label(made["id"]) is None


def scenario(client, ready, kind):
    inbox = client.create_inbox({"name": f"sdk-mail-{kind}"})["id"]
    threads(client, emails(client, inbox, kind))
    drafts(client, inbox)
    labels(client, kind)


both(scenario, operations)
