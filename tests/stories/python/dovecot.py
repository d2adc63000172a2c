"""A Dovecot of one user on a free port, with its mail in a Maildir; and what an IMAP server holds.

Runs as root with mail of `nobody`, or as any other user with its own.
"""

import atexit
import contextlib
import datetime
import grp
import hashlib
import imaplib
import os
import pathlib
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

PASSWORD = "secret of dovecot"
CONFIGURATION = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
ssl = required
ssl_cert = <{root}/cert.pem
ssl_key = <{root}/key.pem
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
mail_location = maildir:{mail}
first_valid_uid = 1
mail_max_userip_connections = 100
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/home
}}
namespace inbox {{
  inbox = yes
  separator = .
  mailbox "Gesendet" {{
    auto = create
    special_use = \\Sent
  }}
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Dovecot:
    """`mail` is the Maildir, made where it is missing."""

    def __init__(self, mail):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="dovecot"))
        self.mail = pathlib.Path(mail)
        self.imap, self.imaps = free_port(), free_port()
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        files = ["-keyout", self.root / "key.pem", "-out", self.root / "cert.pem"]
        # rustls takes no authority as a server's own certificate.
        leaf = ["-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run([*new, *subject, *leaf, *files], check=True, capture_output=True)
        is_root = os.geteuid() == 0
        mail_user = pwd.getpwnam("nobody" if is_root else pwd.getpwuid(os.geteuid()).pw_name)
        internal = "dovecot" if is_root else mail_user.pw_name
        values = {
            "root": self.root,
            "mail": self.mail,
            "imap": self.imap,
            "imaps": self.imaps,
            "password": PASSWORD.replace(" ", "_"),
            "internal": internal,
            "internal_group": "dovecot" if is_root else grp.getgrgid(os.getegid()).gr_name,
            "login": "dovenull" if is_root else mail_user.pw_name,
            "uid": mail_user.pw_uid,
            "gid": mail_user.pw_gid,
        }
        (self.root / "dovecot.conf").write_text(CONFIGURATION.format(**values))
        (self.root / "home").mkdir()
        self.mail.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o755)
        if is_root:
            for folder in [self.root / "home", self.mail]:
                subprocess.run(["chown", "-R", f"{mail_user.pw_uid}:{mail_user.pw_gid}", folder], check=True)
            for parent in self.mail.parents:
                if str(parent).startswith(tempfile.gettempdir() + "/"):
                    parent.chmod(0o755)
        program = shutil.which("dovecot") or "/usr/sbin/dovecot"
        self.process = subprocess.Popen([program, "-F", "-c", self.root / "dovecot.conf"])
        atexit.register(self.stop)
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.imaps), 1):
                return
            assert self.process.poll() is None, self.log()
            time.sleep(0.1)
        raise AssertionError(f"Dovecot does not listen: {self.log()}")

    def log(self):
        path = self.root / "log"
        return path.read_text() if path.exists() else ""

    @property
    def password(self):
        return PASSWORD.replace(" ", "_")

    @property
    def ca(self):
        return str(self.root / "cert.pem")

    def client(self):
        return connect(self.imaps, self.ca, "ann", self.password)

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        shutil.rmtree(self.root, ignore_errors=True)


def connect(port, ca, user, password):
    tls = ssl.create_default_context(cafile=ca)
    client = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=tls, timeout=120)
    client.login(user, password)
    return client


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def mailboxes(client):
    """The names of mailboxes as they are on the wire, with levels separated by slashes, and how to select them."""
    found = {}
    for line in ok(client.list()):
        match = re.fullmatch(rb'\(([^)]*)\) "(.)" (?:"(.*)"|(\S+))', line)
        name = (match[3] or match[4]).decode()
        if b"\\noselect" not in match[1].lower():
            found[name.replace(match[2].decode(), "/")] = name
    return found


def held(client):
    """The messages of each mailbox that has some, by UID: subject, flags, seconds since 1970, hash of the octets."""
    everything = {}
    for shown, name in mailboxes(client).items():
        if ok(client.select(f'"{name}"', readonly=True)) == [b"0"]:
            continue
        _, items = client.fetch("1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")
        messages = []
        for item in items:
            if not isinstance(item, tuple):
                continue
            head, raw = item
            flags = sorted(flag.decode() for flag in imaplib.ParseFlags(head) if flag != b"\\Recent")
            date = re.search(rb'INTERNALDATE "([^"]+)"', head)[1].decode().strip()
            at = datetime.datetime.strptime(date, "%d-%b-%Y %H:%M:%S %z").timestamp()
            subject = re.search(rb"(?mi)^subject: (.*?)\r?$", raw)
            messages.append([subject[1].decode() if subject else "", flags, int(at), hashlib.sha256(raw).hexdigest()])
        if messages:
            everything[shown] = messages
    return everything
