"""A mail client works on one inbox, and so does REST: each sees what the other has done.

two_way.py CLIENT HOST PORT CA USER TOKEN HTTP INBOX_ID [MODULES]

1. Four messages come into the INBOX: Read, Star, Move, Delete.
2. The client reads the first, stars the second, moves the third to Archive, deletes the fourth, and appends one more to Archive, read and
   starred. REST shows just that, and the text that the client has read is that of the message.
3. Over REST the second is unstarred and read, the third moves back, the appended one is deleted, and another message comes.
4. The client, in the same session or with the same copy, shows just that.

CLIENT is a class of two_way_clients. MODULES is the folder of npm's packages.
"""
import json
import sys
import urllib.request

import two_way_clients

TEXT = "From: Ann <ann@sender.example>\r\nTo: {user}\r\nSubject: {subject}\r\n"
TEXT += "Message-ID: <{subject}@sender.example>\r\n\r\nThe text of {subject}.\r\n"


class Api:
    def __init__(self, http, token, inbox):
        self.http, self.token, self.inbox = f"{http}/api/v1", token, inbox

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.http + path, body and json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def emails(self):
        return self.call("GET", f"/emails?inbox={self.inbox}&per_page=100")["data"]

    def shown(self):
        """Subject, labels without the mailbox, by mailbox."""
        found = {}
        for email in self.emails():
            labels = set(email["labels"])
            found.setdefault(email["mailbox"], []).append([email["subject"], "unread" not in labels, "starred" in labels])
        return {mailbox: sorted(rows) for mailbox, rows in found.items()}

    def receive(self, user, subject):
        self.call("POST", "/emails", {"inbox_id": self.inbox, "raw": TEXT.format(user=user, subject=subject)})

    def id(self, subject):
        (found,) = [email["id"] for email in self.emails() if email["subject"] == subject]
        return found


def same(what, shown, expected):
    shown = {mailbox: sorted(map(list, rows)) for mailbox, rows in shown.items() if rows}
    assert shown == expected, f"{what}: {shown}, not {expected}"


def main():
    name, host, port, ca, user, token, http, inbox, *modules = sys.argv[1:]
    api = Api(http, token, inbox)
    for subject in ("Read", "Star", "Move", "Delete"):
        api.receive(user, subject)
    client = getattr(two_way_clients, name)(host, int(port), ca, user, token, *modules)
    appended = TEXT.format(user=user, subject="Appended").encode()
    text = client.act(appended)
    assert text.replace("\r\n", "\n").strip() == "The text of Read.", text
    deleted = {"Trash": [["Delete", False, False]]} if client.has_trash else {}
    expected = {"INBOX": [["Read", True, False], ["Star", False, True]], "Archive": [["Appended", True, True], ["Move", False, False]]}
    same("REST", api.shown(), expected | deleted)
    api.call("PATCH", f"/emails/{api.id('Star')}", {"labels": []})
    api.call("PATCH", f"/emails/{api.id('Move')}/actions", {"move_to": "INBOX"})
    api.call("DELETE", f"/emails/{api.id('Appended')}")
    api.receive(user, "New")
    expected = {"INBOX": [["Move", False, False], ["New", False, False], ["Read", True, False], ["Star", True, False]]}
    trash = deleted.get("Trash", []) + [["Appended", True, True]]
    same("REST at the end", api.shown(), expected | {"Trash": sorted(trash)})
    same(name, client.shown(), expected | {"Trash": sorted(trash)})
    client.close()


if __name__ == "__main__":
    main()
