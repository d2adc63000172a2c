"""The clients of two_way.py. Each has act(appended), which gives the text of the message that it has read; shown(), the messages that it shows
by mailbox as (subject, is read, is starred); close(); and has_trash, true if what it deletes goes to Trash.
"""
import asyncio
import email
import imaplib
import json
import os
import pathlib
import pty
import re
import ssl
import subprocess
import tempfile

import synchronisers

FOLDERS = ["INBOX", "Archive", "Trash"]
RUN = {"capture_output": True, "text": True, "timeout": 120}


def header_subject(octets):
    return email.message_from_bytes(octets)["Subject"]


def body(octets):
    return email.message_from_bytes(octets).get_payload()


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], **RUN, **more)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Client:
    has_trash = False

    def __init__(self, host, port, ca, user, token):
        self.host, self.port, self.ca, self.user, self.token = host, port, ca, user, token
        self.tls = ssl.create_default_context(cafile=ca)
        self.open()

    def close(self):
        pass


class ImapClient(Client):
    """imapclient, of PyPI."""

    def open(self):
        import imapclient

        self.client = imapclient.IMAPClient(self.host, self.port, ssl_context=self.tls)
        self.client.login(self.user, self.token)

    def find(self, subject):
        return self.client.search(["SUBJECT", subject])

    def act(self, appended):
        client = self.client
        client.select_folder("INBOX")
        read = self.find("Read")
        text = body(client.fetch(read, ["BODY[]"])[read[0]][b"BODY[]"])
        client.add_flags(self.find("Star"), [b"\\Flagged"])
        client.move(self.find("Move"), "Archive")
        deleted = self.find("Delete")
        client.delete_messages(deleted)
        client.uid_expunge(deleted)
        client.append("Archive", appended, [b"\\Seen", b"\\Flagged"])
        client.idle()
        return text

    def shown(self):
        # The session is still in the INBOX, and is told of what REST has done.
        told = self.client.idle_check(timeout=30)
        self.client.idle_done()
        assert told, "nothing came in IDLE"
        found = {}
        for folder in FOLDERS:
            self.client.select_folder(folder, readonly=True)
            items = self.client.fetch(self.client.search("ALL"), ["ENVELOPE", "FLAGS"]).values()
            found[folder] = [(item[b"ENVELOPE"].subject.decode(), b"\\Seen" in item[b"FLAGS"], b"\\Flagged" in item[b"FLAGS"]) for item in items]
        return found

    def close(self):
        self.client.logout()


class ImapLib(Client):
    """imaplib, of Python's standard library."""

    def open(self):
        self.client = imaplib.IMAP4_SSL(self.host, self.port, ssl_context=self.tls)
        self.client.login(self.user, self.token)

    def ok(self, answer):
        status, data = answer
        assert status == "OK", answer
        return data

    def uid(self, subject):
        return self.ok(self.client.uid("SEARCH", "SUBJECT", subject))[0].decode()

    def act(self, appended):
        client = self.client
        self.ok(client.select("INBOX"))
        text = body(self.ok(client.uid("FETCH", self.uid("Read"), "(BODY[])"))[0][1])
        self.ok(client.uid("STORE", self.uid("Star"), "+FLAGS", "(\\Flagged)"))
        move, delete = self.uid("Move"), self.uid("Delete")
        # Without MOVE, as clients of old servers do.
        self.ok(client.uid("COPY", move, "Archive"))
        self.ok(client.uid("STORE", f"{move},{delete}", "+FLAGS.SILENT", "(\\Deleted)"))
        self.ok(client.expunge())
        self.ok(client.append("Archive", "(\\Seen \\Flagged)", None, appended))
        return text

    def shown(self):
        # The session is still in the INBOX.
        self.ok(self.client.noop())
        assert self.client.response("EXISTS")[1][-1] == b"4", "NOOP does not tell of what is new"
        found = {}
        for folder in FOLDERS:
            self.ok(self.client.select(folder, readonly=True))
            items = self.ok(self.client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
            items = [item for item in items if isinstance(item, tuple)]
            found[folder] = [(header_subject(octets), b"\\Seen" in flags, b"\\Flagged" in flags) for flags, octets in items]
        return found

    def close(self):
        self.client.logout()


class ImapTools(Client):
    """imap-tools, of PyPI."""

    def open(self):
        import imap_tools

        self.tools = imap_tools
        self.client = imap_tools.MailBox(self.host, self.port, ssl_context=self.tls).login(self.user, self.token)

    def uids(self, subject):
        return self.client.uids(self.tools.AND(subject=subject))

    def act(self, appended):
        client = self.client
        (message,) = client.fetch(self.tools.AND(subject="Read"))
        client.flag(self.uids("Star"), self.tools.MailMessageFlags.FLAGGED, True)
        client.move(self.uids("Move"), "Archive")
        client.delete(self.uids("Delete"))
        flags = [self.tools.MailMessageFlags.SEEN, self.tools.MailMessageFlags.FLAGGED]
        client.append(appended, "Archive", flag_set=flags)
        return message.text

    def shown(self):
        assert self.client.idle.wait(timeout=30), "nothing came in IDLE"
        found = {}
        for folder in FOLDERS:
            self.client.folder.set(folder, readonly=True)
            messages = self.client.fetch(mark_seen=False, headers_only=True)
            found[folder] = [(message.subject, "\\Seen" in message.flags, "\\Flagged" in message.flags) for message in messages]
        return found

    def close(self):
        self.client.logout()


class AioImap(Client):
    """aioimaplib, of PyPI."""

    def open(self):
        import aioimaplib

        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self.connected(aioimaplib))

    async def connected(self, library):
        client = library.IMAP4_SSL(self.host, self.port, ssl_context=self.tls)
        await client.wait_hello_from_server()
        await self.ok(client.login(self.user, self.token))
        return client

    async def ok(self, command):
        answer = await command
        assert answer.result == "OK", answer
        return answer.lines

    async def uid(self, subject):
        lines = await self.ok(self.client.uid_search("SUBJECT", subject))
        return lines[0].decode()

    async def do(self, appended):
        client = self.client
        await self.ok(client.select("INBOX"))
        lines = await self.ok(client.uid("fetch", await self.uid("Read"), "BODY[]"))
        text = body(bytes(max(lines, key=len)))
        await self.ok(client.uid("store", await self.uid("Star"), "+FLAGS", "(\\Flagged)"))
        await self.ok(client.uid("move", await self.uid("Move"), "Archive"))
        await self.ok(client.uid("store", await self.uid("Delete"), "+FLAGS", "(\\Deleted)"))
        await self.ok(client.expunge())
        await self.ok(client.append(appended, "Archive", "\\Seen \\Flagged"))
        self.idle = await client.idle_start(timeout=60)
        return text

    def act(self, appended):
        return self.loop.run_until_complete(self.do(appended))

    async def show(self):
        told = await self.client.wait_server_push(timeout=30)
        assert told, "nothing came in IDLE"
        self.client.idle_done()
        await asyncio.wait_for(self.idle, 30)
        found = {}
        for folder in FOLDERS:
            await self.ok(self.client.select(folder))
            lines = await self.ok(self.client.uid("fetch", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
            rows = [(lines[at], lines[at + 1]) for at in range(len(lines) - 1) if lines[at].find(b"FETCH (") > 0]
            found[folder] = [(header_subject(bytes(octets)), b"\\Seen" in flags, b"\\Flagged" in flags) for flags, octets in rows]
        return found

    def shown(self):
        return self.loop.run_until_complete(self.show())

    def close(self):
        self.loop.run_until_complete(self.ok(self.client.logout()))
        self.loop.close()


class Curl(Client):
    """curl: a process for each command. It appends and fetches by URL, and sends other commands as they are."""

    def open(self):
        self.folder = tempfile.TemporaryDirectory()

    def curl(self, path, *arguments):
        url = f"imaps://{self.host}:{self.port}/{path}"
        return run("curl", "-sS", "--cacert", self.ca, "-u", f"{self.user}:{self.token}", url, *arguments)

    def uid(self, subject):
        return re.search(r"\* SEARCH (\d+)", self.curl("INBOX", "-X", f"UID SEARCH SUBJECT {subject}"))[1]

    def act(self, appended):
        text = self.curl(f"INBOX;UID={self.uid('Read')};SECTION=TEXT")
        self.curl("INBOX", "-X", f"UID STORE {self.uid('Star')} +FLAGS (\\Flagged)")
        self.curl("INBOX", "-X", f"UID MOVE {self.uid('Move')} Archive")
        deleted = self.uid("Delete")
        self.curl("INBOX", "-X", f"UID STORE {deleted} +FLAGS (\\Deleted)", "--next", "-sS", "--cacert", self.ca, "-u",
                  f"{self.user}:{self.token}", f"imaps://{self.host}:{self.port}/INBOX", "-X", f"UID EXPUNGE {deleted}")
        path = pathlib.Path(self.folder.name) / "appended"
        path.write_bytes(appended)
        self.curl("Archive", "-T", path)
        # It appends what is read, and has no way to star it at once.
        self.curl("Archive", "-X", "STORE 1:* -FLAGS (\\Seen)")
        self.curl("Archive", "-X", "STORE 2 +FLAGS (\\Seen \\Flagged)")
        return text

    def shown(self):
        found = {}
        for folder in FOLDERS:
            # curl writes the responses' lines, not the literals.
            lines = self.curl(folder, "-X", "UID FETCH 1:* (FLAGS ENVELOPE)")
            rows = re.findall(r'\* \d+ FETCH \(UID \d+ FLAGS \(([^)]*)\) ENVELOPE \((?:NIL|"[^"]*") "([^"]*)"', lines)
            found[folder] = [(subject, "\\Seen" in flags, "\\Flagged" in flags) for flags, subject in rows]
        return found


class ImapFlow(Client):
    """imapflow, of npm: a program of Node that is told what to do, line by line."""

    def __init__(self, *arguments):
        *arguments, self.modules = arguments
        super().__init__(*arguments)

    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.folder.name)
        (root / "node_modules").symlink_to(self.modules)
        script = pathlib.Path(__file__).parent.parent / "typescript/two_way.mjs"
        (root / script.name).write_bytes(script.read_bytes())
        command = ["node", root / script.name, self.host, str(self.port), self.user, self.token]
        environment = {"NODE_EXTRA_CA_CERTS": self.ca, "PATH": "/usr/bin:/bin"}
        self.program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def ask(self, question):
        self.program.stdin.write(json.dumps(question) + "\n")
        self.program.stdin.flush()
        return json.loads(self.program.stdout.readline())

    def act(self, appended):
        return self.ask({"appended": appended.decode()})

    def shown(self):
        return self.ask({"folders": FOLDERS})

    def close(self):
        self.program.stdin.close()
        assert self.program.wait(timeout=60) == 0


class Maildir(Client):
    """A program that keeps a copy: what is done to the copy is done to the inbox, and the other way round."""

    program = ""

    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.copy = synchronisers.Synchroniser(self.program, self.folder.name, self.host, self.port, self.ca, self.user, self.token)
        self.copy.run()

    def rename(self, subject, flags, folder="INBOX"):
        """Gives a message other flags; in another folder it is a new file."""
        (path,) = [path for path in self.copy.files("INBOX") if synchronisers.subject(path) == subject]
        name = path.name.partition(":2,")[0]
        if folder != "INBOX":
            name = "1764410400.1.moved"
        return path.rename(self.copy.mail / folder / "cur" / f"{name}:2,{flags}")

    def act(self, appended):
        text = body(self.rename("Read", "S").read_bytes())
        self.rename("Star", "F")
        self.rename("Move", "", "Archive")
        self.delete(self.rename("Delete", ""))
        (self.copy.mail / "Archive/cur/1764410400.2.appended:2,FS").write_bytes(appended.replace(b"\r\n", b"\n"))
        self.copy.run()
        return text

    def shown(self):
        self.copy.run()
        return {folder: self.copy.messages(folder) for folder in FOLDERS}


class Mbsync(Maildir):
    program = "mbsync"

    def delete(self, path):
        path.rename(f"{path}T")


class OfflineImap(Maildir):
    program = "offlineimap"

    def delete(self, path):
        path.unlink()


class NeoMutt(Client):
    """neomutt, in a terminal of its own, with keys that are pushed. It keeps headers in a cache between its runs."""

    def open(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        (self.root / "cache").mkdir()
        account = {"host": self.host, "port": self.port, "ca": self.ca, "user": self.user, "token": self.token}
        (self.root / "rc").write_text(NEOMUTT.format(root=self.root, **account))

    def keys(self, folder, keys):
        terminal, inside = pty.openpty()
        command = ["neomutt", "-n", "-F", self.root / "rc", "-f", folder, "-e", f"push '{keys}<quit>'"]
        environment = {"TERM": "xterm", "HOME": str(self.root), "PATH": "/usr/bin:/bin"}
        program = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True, env=environment)
        os.close(inside)
        screen = b""
        try:
            # Ends with an error once the program has closed the terminal.
            while octets := os.read(terminal, 65536):
                screen += octets
        except OSError:
            pass
        os.close(terminal)
        assert program.wait(timeout=60) == 0, screen[-2000:]

    def on(self, subject, keys):
        return f"<limit>~s {subject}<enter>{keys}<limit>all<enter>"

    def act(self, appended):
        (self.root / "appended").write_bytes(b"From ann@sender.example Mon Nov  2 10:00:00 2026\n" + appended.replace(b"\r\n", b"\n") + b"\n")
        read = f"<pipe-message>cat > {self.root}/read<enter><display-message><exit>"
        self.keys(
            "=INBOX",
            self.on("Read", read) + self.on("Star", "<flag-message>") + self.on("Move", "<save-message>=Archive<enter>")
            + self.on("Delete", "<delete-message>") + "<sync-mailbox>",
        )
        self.keys(f"{self.root}/appended", "<clear-flag>N<flag-message><copy-message>=Archive<enter>")
        return body((self.root / "read").read_bytes())

    def shown(self):
        found = {}
        for folder in FOLDERS:
            subjects = {}
            keys = ""
            for name, pattern in (("all", "~A"), ("read", "!~U"), ("starred", "~F")):
                (self.root / name).write_text("")
                pipe = f"<pipe-message>grep Subject: >> {self.root}/{name}<enter>"
                keys += f"<limit>{pattern}<enter><tag-pattern>~A<enter><tag-prefix-cond>{pipe}<end-cond><untag-pattern>~A<enter>"
            self.keys(f"={folder}", keys)
            for name in ("all", "read", "starred"):
                subjects[name] = [line.removeprefix("Subject: ") for line in (self.root / name).read_text().splitlines()]
            found[folder] = [(subject, subject in subjects["read"], subject in subjects["starred"]) for subject in subjects["all"]]
        return found


NEOMUTT = """
set folder = "imaps://{host}:{port}/"
set imap_user = "{user}"
set imap_pass = "{token}"
set ssl_starttls = no
set certificate_file = "{ca}"
set ssl_use_system_certs = no
set header_cache = "{root}/cache"
set imap_qresync = yes
set spool_file = "=INBOX"
set move = no
set confirm_append = no
set delete = yes
set quit = yes
set mark_old = no
set pipe_split = yes
set pipe_decode = no
set wait_key = no
set mail_check = 0
set sleep_time = 0
set pager_stop = yes
"""
