"""The actions of the walk: each chooses among what is shown, does one thing, and says what has to follow.

`self.words` is for the report of a failure. What follows is in `self.expects()`, `self.received` (inboxes) and `self.sent`.
"""
import datetime
import email.message
import email.policy
import imaplib
import re
import smtplib
import ssl

from walk_rest import RestActions
from walk_views import OUTSIDE, STANDARD

FLAGS = ["\\Seen", "\\Flagged", "\\Answered", "\\Deleted"]
NAMES = ["Work", "Work/2024", "Lists", "Old mail", "Lists/rust"]

# How often an action is chosen.
WEIGHTS = {
    "smtp_submit": 3, "mx_deliver": 3, "append_to_sent": 2, "rest_send": 3, "rest_reply": 3, "rest_forward": 2, "rest_ingest": 2,
    "draft_create": 2, "draft_change": 3, "draft_delete": 1, "draft_send": 2, "rest_labels": 5, "rest_replace_labels": 2,
    "rest_mark_read": 2, "rest_move": 4, "rest_delete": 3, "rest_restore": 3,
    "label_create": 1, "label_rename": 1, "label_delete": 1,
    "imap_append": 3, "imap_store": 6, "imap_copy": 3, "imap_move": 4, "imap_expunge": 2, "imap_create": 2, "imap_rename": 2,
    "imap_delete": 1,
}


class Actions(RestActions):
    def begin(self):
        self.serial, self.submitted = 0, []
        self.keywords, self.labels = ["work", "$Later", "Needs-Reply"], {}

    def choose(self, is_full):
        if is_full:
            return self.imap_empty
        names = list(WEIGHTS)
        (name,) = self.random.choices(names, [WEIGHTS[name] for name in names])
        return getattr(self, name)

    # What is chosen from.

    def email(self, kinds=None, condition=lambda shown: True):
        """An email by its id. `None` if there is none."""
        fits = [id for id, row in sorted(self.view.rows.items()) if kinds is None or self.view.kinds[row.mailbox] in kinds]
        fits = [id for id in fits if condition(self.view.rest[id])]
        return self.random.choice(fits) if fits else None

    def messages(self, most=3):
        """A mailbox and some of its UIDs; `None` if all are empty."""
        filled = sorted(mailbox for mailbox, rows in self.view.imap.items() if rows)
        if not filled:
            return None
        mailbox = self.random.choice(filled)
        uids = sorted(self.view.imap[mailbox])
        return mailbox, sorted(self.random.sample(uids, min(len(uids), self.random.randint(1, most))))

    def mailbox(self):
        return self.random.choice(sorted(self.view.kinds))

    def target(self, kind, inbox=None):
        return self.before[inbox or self.own].of_kind(kind) or STANDARD[kind]

    def recipients(self):
        return self.random.choice([[self.user], [self.setting["other"]], [self.user, self.setting["other"]]])

    def subject(self):
        self.serial += 1
        return f"{self.random.choice(['walk', 'Grüße', 'a, b; (c)'])} {self.serial}"

    def message(self, subject, sender, to):
        message = email.message.EmailMessage(policy=email.policy.SMTP)
        message["From"], message["To"], message["Subject"] = sender, ", ".join(to), subject
        message["Message-ID"] = f"<{self.serial}.{self.setting['seed']}@walk.example>"
        message["Date"] = "Tue, 24 Nov 2026 05:31:07 +0000"
        message.set_content(self.random.choice(["Hello.\n", "Grüße\n", "line\n" * 300]))
        return message["Message-ID"][1:-1], message.as_bytes()

    def some(self, choices, least=0):
        return self.random.sample(choices, self.random.randint(least, min(3, len(choices))))

    # What follows.

    def arrives(self, recipients, subject, **fields):
        """A message is in the INBOX of each recipient here."""
        for address in recipients:
            if inbox := self.inboxes.get(address):
                self.expects(inbox).gains(mailbox="INBOX", subject=subject, flags=frozenset(), **fields)
                self.received.append(inbox)

    def is_sent(self, recipients, subject, **fields):
        seen = frozenset({"\\Seen"})
        self.expects().gains(mailbox=self.target("sent"), subject=subject, sender=self.user, flags=seen, **fields)
        self.sent += 1
        self.arrives(recipients, subject, sender=self.user, **fields)

    def changes(self, row, mailbox=None, add=(), remove=()):
        removed = {flag.lower() for flag in remove}
        known = {flag.lower() for flag in row.flags}
        flags = {flag for flag in row.flags if flag.lower() not in removed}
        flags |= {flag for flag in add if flag.lower() not in known}
        self.expects().changes(row, mailbox=mailbox or row.mailbox, flags=frozenset(flags))

    def replaces(self, row, flags):
        """Keywords that are there keep their spelling."""
        known = {flag.lower(): flag for flag in row.flags}
        self.expects().changes(row, flags=frozenset(known.get(flag.lower(), flag) for flag in flags))

    # SMTP.

    def smtp_submit(self):
        to, subject = self.recipients(), self.subject()
        message_id, raw = self.message(subject, self.user, to)
        self.words += [to, subject]
        with smtplib.SMTP(*self.setting["submission"], timeout=60) as client:
            client.starttls(context=ssl.create_default_context(cafile=self.setting["ca"]))
            client.login(self.user, self.setting["token"])
            client.sendmail(self.user, to, raw)
        self.is_sent(to, subject, message_id=message_id, to=", ".join(to))
        self.submitted.append((subject, raw))

    def mx_deliver(self):
        to, subject = self.recipients(), self.subject()
        message_id, raw = self.message(subject, OUTSIDE, to)
        self.words += [to, subject]
        with smtplib.SMTP(*self.setting["mx"], timeout=60) as client:
            client.sendmail(OUTSIDE, to, raw)
        self.arrives(to, subject, sender=OUTSIDE, to=", ".join(to), message_id=message_id)

    # IMAP.

    def append(self, mailbox, flags, date, raw):
        """Returns the UID."""
        answer = self.imap.ok(*self.imap.client.append(f'"{mailbox}"', f"({' '.join(flags)})", date, raw))
        return int(re.search(rb"APPENDUID \d+ (\d+)", answer[0])[1])

    def imap_append(self):
        mailbox, to, subject = self.mailbox(), self.recipients(), self.subject()
        flags = self.some([*FLAGS[:3], *self.keywords])
        message_id, raw = self.message(subject, OUTSIDE, to)
        when = self.random.choice([None, datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.timezone.utc)])
        self.words += [mailbox, subject, flags, when]
        self.append(mailbox, flags, when and imaplib.Time2Internaldate(when), raw)
        date = {"date": int(when.timestamp())} if when else {}
        self.expects().gains(
            mailbox=mailbox, subject=subject, sender=OUTSIDE, to=", ".join(to), flags=frozenset(flags), size=len(raw),
            message_id=message_id, **date,
        )

    def append_to_sent(self):
        """As mail programs do after sending: there is no second copy, and its flags are taken over."""
        self.smtp_submit()
        subject, raw = self.submitted[-1]
        flags = self.some(["\\Seen", "\\Flagged", *self.keywords])
        self.words.append(flags)
        self.append(self.target("sent"), flags, None, raw)
        sent = self.expects().gained[0]
        sent["flags"] = sent["flags"] | set(flags)
        self.expects().may_change = True

    def imap_store(self):
        if not (chosen := self.messages()):
            return
        mailbox, uids = chosen
        flags = self.some([*FLAGS, *self.keywords, *map(str.upper, self.keywords[:1])], 1)
        if len({flag.lower() for flag in flags}) < len(flags):
            flags = flags[:1]
        item = self.random.choice(["FLAGS", "+FLAGS", "-FLAGS", "+FLAGS.SILENT"])
        self.words += [mailbox, uids, item, flags]
        self.imap.select(mailbox)
        self.imap.uid("STORE", ",".join(map(str, uids)), item, f"({' '.join(flags)})")
        for uid in uids:
            row = self.view.imap[mailbox][uid]
            if item == "FLAGS":
                self.replaces(row, flags)
            else:
                self.changes(row, **{"remove" if item == "-FLAGS" else "add": flags})

    def imap_copy(self):
        if chosen := self.messages():
            (mailbox, uids), to = chosen, self.mailbox()
            self.words += [mailbox, uids, to]
            self.imap.select(mailbox)
            self.imap.uid("COPY", ",".join(map(str, uids)), f'"{to}"')
            self.expects().may_change = True
            for uid in uids:
                self.expects().gains(**self.view.imap[mailbox][uid]._replace(mailbox=to)._asdict())

    def imap_move(self):
        if chosen := self.messages():
            (mailbox, uids), to = chosen, self.mailbox()
            if to == mailbox:
                return
            self.words += [mailbox, uids, to]
            self.imap.select(mailbox)
            self.imap.uid("MOVE", ",".join(map(str, uids)), f'"{to}"')
            for uid in uids:
                self.changes(self.view.imap[mailbox][uid], mailbox=to)

    def imap_expunge(self):
        if chosen := self.messages():
            self.expunge(*chosen)

    def imap_empty(self):
        """Makes room: the fullest mailbox loses half of its messages."""
        mailbox = max(sorted(self.view.imap), key=lambda name: len(self.view.imap[name]))
        uids = sorted(self.view.imap[mailbox])
        self.expunge(mailbox, uids[::2])

    def expunge(self, mailbox, uids):
        listed, all_deleted = ",".join(map(str, uids)), self.random.random() < 0.5
        self.words += [mailbox, uids, "EXPUNGE" if all_deleted else "UID EXPUNGE"]
        self.imap.select(mailbox)
        self.imap.uid("STORE", listed, "+FLAGS.SILENT", "(\\Deleted)")
        self.imap.ok(*(self.imap.client.expunge() if all_deleted else self.imap.client.uid("EXPUNGE", listed)))
        self.expects().may_change = True
        for uid, row in self.view.imap[mailbox].items():
            if uid in uids or (all_deleted and "\\Deleted" in row.flags):
                self.expects().loses(row)

    def imap_create(self):
        if free := [name for name in NAMES if name not in self.view.kinds]:
            name = self.random.choice(free)
            self.words.append(name)
            self.imap.ok(*self.imap.client.create(f'"{name}"'))

    def own_mailbox(self):
        own = [name for name in sorted(self.view.kinds) if self.view.kinds[name] in (None, "archive", "junk")]
        return self.random.choice(own)

    def imap_rename(self):
        source = "INBOX" if self.random.random() < 0.2 else self.own_mailbox()
        target = f"{self.random.choice(['Moved', 'Lists/moved', 'Cold'])} {len(self.log)}"
        if target.startswith(f"{source}/"):
            return
        self.words += [source, target]
        self.imap.ok(*self.imap.client.rename(f'"{source}"', f'"{target}"'))
        self.expects().may_change = True
        for mailbox, rows in self.view.imap.items():
            below = source != "INBOX" and mailbox.startswith(f"{source}/")
            for row in rows.values() if mailbox == source or below else []:
                self.changes(row, mailbox=target + mailbox[len(source):])

    def imap_delete(self):
        mailbox = self.own_mailbox()
        self.words.append(mailbox)
        self.imap.unselect()
        self.imap.ok(*self.imap.client.delete(f'"{mailbox}"'))
        for row in self.view.imap[mailbox].values():
            self.expects().loses(row)
