"""The walk's actions over REST."""
from unittest.mock import ANY

from walk_views import OUTSIDE, STANDARD, check


class RestActions:
    def rest_send(self):
        to, subject = self.recipients(), self.subject()
        self.words += [to, subject]
        texts = {"text_body": "Hello.", "html_body": "<p>Hello.</p>"}
        body = {"inbox_id": self.own, "to": to, "subject": subject, **texts}
        sent = self.rest.call("POST", "/emails/send", body)
        self.is_sent(to, subject, to=", ".join(to), message_id=sent["message_id"])

    def answer(self, verb, prefix, body, to):
        if not (id := self.email()):
            return
        row, shown = self.view.rows[id], self.view.rest[id]
        if to is None:
            was_sent = shown["mail_from"] and not shown["rcpt_to"]
            to = row.to.split(", ") if was_sent else [row.sender]
        self.words += [id, row, to]
        sent = self.rest.call("POST", f"/emails/{id}/{verb}", body)
        subject = row.subject if row.subject.startswith(prefix) else f"{prefix} {row.subject}"
        in_reply_to = (row.message_id,) if row.message_id else ()
        self.is_sent(to, subject, to=", ".join(to), message_id=sent["message_id"], in_reply_to=in_reply_to)
        self.changes(row, add=["\\Answered"] if verb == "reply" else ["$Forwarded"])

    def rest_reply(self):
        to = self.random.choice([None, self.recipients()])
        # Also to itself.
        self.answer("reply", "Re:", {"text_body": "Yes.", "force": True, **({"to": to} if to else {})}, to)

    def rest_forward(self):
        to = self.recipients()
        self.answer("forward", "Fwd:", {"text_body": "See below.", "to": to}, to)

    def rest_ingest(self):
        subject = self.subject()
        message_id, raw = self.message(subject, OUTSIDE, [self.user])
        self.words.append(subject)
        self.rest.call("POST", "/emails", {"inbox_id": self.own, "raw": raw.decode()})
        self.arrives([self.user], subject, sender=OUTSIDE, message_id=message_id)

    def draft_create(self):
        to, subject = self.recipients(), self.subject()
        self.words += [to, subject]
        self.rest.call("POST", "/drafts", {"inbox_id": self.own, "to": to, "subject": subject, "text_body": "So far."})
        self.expects().gains(
            mailbox=self.target("drafts"), subject=subject, sender=self.user, to=", ".join(to),
            flags=frozenset({"\\Draft", "\\Seen"}),
        )

    def draft(self):
        id = self.email(["drafts"], lambda shown: "\\Draft" in shown["flags"])
        if id:
            self.words += [id, self.view.rows[id]]
        return id

    def draft_change(self):
        if not (id := self.draft()):
            return self.draft_create()
        subject = self.random.choice([self.view.rows[id].subject, self.subject()])
        self.words.append(subject)
        self.rest.call("PATCH", f"/drafts/{id}", {"subject": subject, "text_body": "Further " * self.random.randint(1, 9)})
        row = self.view.rows[id]
        # Another message to IMAP, with another size and date; a mark to expunge was for the old one.
        self.expects().changes(
            row, subject=subject, mailbox=self.target("drafts"), flags=row.flags - {"\\Deleted"}, size=ANY, date=ANY,
            message_id=ANY,
        )
        self.expects().may_change = True

    def draft_delete(self):
        if id := self.draft():
            self.rest.call("DELETE", f"/drafts/{id}")
            self.expects().loses(self.view.rows[id])

    def draft_send(self):
        if id := self.draft():
            row = self.view.rows[id]
            sent = self.rest.call("POST", f"/drafts/{id}/send")
            self.expects().loses(row)
            self.is_sent(row.to.split(", "), row.subject, to=row.to, message_id=sent["message_id"])

    def split(self, labels):
        """What flags and keywords the labels are: those to add, and those to remove."""
        names = [self.labels.get(label, label) for label in labels]
        add = ["\\Flagged" if name == "starred" else name for name in names if name != "unread"]
        return add, ["\\Seen"] if "unread" in names else []

    def rest_labels(self):
        if not (id := self.email()):
            return
        choices = ["unread", "starred", *self.keywords, *self.labels]
        add = self.some(choices)
        slugs = {self.labels.get(label, label) for label in add}
        remove = [label for label in self.some(choices) if self.labels.get(label, label) not in slugs]
        row = self.view.rows[id]
        self.words += [id, row, "add", add, "remove", remove]
        shown = self.rest.call("PATCH", f"/emails/{id}", {"add_labels": add, "remove_labels": remove})
        (set_by_add, unset_by_add), (unset_by_remove, set_by_remove) = self.split(add), self.split(remove)
        self.changes(row, add=set_by_add + set_by_remove, remove=unset_by_add + unset_by_remove)
        check("starred" not in add or "starred" in shown["labels"], shown["labels"])

    def rest_replace_labels(self):
        if not (id := self.email()):
            return
        row, labels = self.view.rows[id], self.some(["unread", "starred", *self.keywords])
        self.words += [id, row, labels]
        self.rest.call("PATCH", f"/emails/{id}", {"labels": labels})
        flags = {flag for flag in row.flags if flag.startswith("\\")} - {"\\Seen", "\\Flagged"}
        flags |= set(self.split(labels)[0]) | ({"\\Seen"} if "unread" not in labels else set())
        self.replaces(row, flags)

    def rest_mark_read(self):
        if id := self.email():
            row, read = self.view.rows[id], self.random.random() < 0.5
            self.words += [id, row, read]
            self.rest.call("PATCH", f"/emails/{id}/actions", {"mark_read": read})
            self.changes(row, **{"add" if read else "remove": ["\\Seen"]})

    def rest_move(self):
        if not (id := self.email()):
            return
        row, kind = self.view.rows[id], self.random.choice(["inbox", "trash", "junk", "archive"])
        name = self.mailbox()
        if name in STANDARD.values():
            name = STANDARD[kind]
        moved = name if name not in STANDARD.values() else self.target(kind)
        verb, body, mailbox = self.random.choice([
            ("/actions", {"move_to": kind}, self.target(kind)),
            ("/actions", {"move_to": name}, moved),
            ("", {"add_labels": [kind, "work"]}, self.target(kind)),
            ("", {"remove_labels": ["inbox"]}, self.target("archive")),
        ])
        self.words += [id, row, body]
        self.rest.call("PATCH", f"/emails/{id}{verb}", body)
        self.changes(row, mailbox=mailbox, add=["work"] if "add_labels" in body else [])

    def rest_delete(self):
        if id := self.email():
            row = self.view.rows[id]
            self.words += [id, row]
            self.rest.call("DELETE", f"/emails/{id}")
            if self.view.kinds[row.mailbox] == "trash":
                self.expects().loses(row)
            else:
                self.changes(row, mailbox=self.target("trash"))

    def rest_restore(self):
        if not (id := self.email(["trash", "junk", "archive"])):
            return
        row, shown = self.view.rows[id], self.view.rest[id]
        origin = "sent" if shown["mail_from"] and not shown["rcpt_to"] else "inbox"
        kind = "drafts" if "\\Draft" in row.flags else origin
        self.words += [id, row, kind]
        if self.random.random() < 0.5:
            self.rest.call("POST", f"/emails/{id}/restore")
        else:
            self.rest.call("PATCH", f"/emails/{id}", {"remove_labels": [self.view.kinds[row.mailbox]]})
        self.changes(row, mailbox=self.target(kind))

    def label_create(self):
        if len(self.labels) < 4:
            name = f"Label {self.serial} of {len(self.log)}"
            self.words.append(name)
            self.labels[name] = self.rest.call("POST", "/mailbox_labels", {"name": name})["slug"]
            self.compare_labels()

    def label(self):
        listed = self.rest.call("GET", "/mailbox_labels")["data"]
        own = [label for label in listed if not label["system"]]
        label = self.random.choice(own) if own else None
        self.words.append(label)
        return label

    def label_rename(self):
        if label := self.label():
            name = f"Renamed {len(self.log)}"
            self.rest.call("PATCH", f"/mailbox_labels/{label['id']}", {"name": name})
            self.labels[name] = self.labels.pop(label["name"])
            self.compare_labels()

    def label_delete(self):
        """Emails keep the keyword."""
        if label := self.label():
            self.rest.call("DELETE", f"/mailbox_labels/{label['id']}")
            del self.labels[label["name"]]
            self.compare_labels()

    def compare_labels(self):
        listed = self.rest.call("GET", "/mailbox_labels")["data"]
        listed = {label["name"]: label["slug"] for label in listed if not label["system"]}
        check(listed == self.labels, "labels", listed, "not", self.labels)
