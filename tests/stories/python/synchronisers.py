"""mbsync and offlineimap, each with a Maildir that is a copy of an inbox's mailboxes."""
import pathlib
import subprocess

MBSYNC = """
IMAPAccount server
Host {host}
Port {port}
User {user}
Pass {token}
SSLType IMAPS
CertificateFile {ca}

IMAPStore far
Account server

MaildirStore near
Path {mail}/
Inbox {mail}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
"""
OFFLINEIMAP = """
[general]
accounts = account
metadata = {root}/metadata
ui = quiet
[Account account]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {mail}
[Repository far]
type = IMAP
remotehost = {host}
remoteport = {port}
ssl = yes
sslcacertfile = {ca}
remoteuser = {user}
remotepass = {token}
"""
PROGRAMS = {"mbsync": (MBSYNC, ["mbsync", "-q", "-c"], ["all"]), "offlineimap": (OFFLINEIMAP, ["offlineimap", "-o", "-c"], [])}


class Synchroniser:
    def __init__(self, name, root, host, port, ca, user, token):
        self.mail = pathlib.Path(root) / name
        self.mail.mkdir()
        configuration, before, after = PROGRAMS[name]
        path = pathlib.Path(root) / f"{name}.conf"
        path.write_text(configuration.format(root=root, mail=self.mail, host=host, port=port, ca=ca, user=user, token=token))
        self.command = [*before, str(path), *after]

    def run(self):
        done = subprocess.run(self.command, capture_output=True, text=True, timeout=120)
        if done.returncode != 0 or "rror" in done.stderr:
            raise AssertionError(f"{self.command}: {done.returncode}\n{done.stdout}\n{done.stderr}")

    def files(self, folder):
        return [path for part in ("cur", "new") for path in (self.mail / folder / part).glob("*")]

    def messages(self, folder):
        """The messages of a folder: subject, is read, is starred."""
        return sorted((subject(path), "S" in flags(path), "F" in flags(path)) for path in self.files(folder))


def subject(path):
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("Subject: ")]
    return line.removeprefix("Subject: ")


def flags(path):
    return path.name.rpartition(":2,")[2] if ":2," in path.name else ""
