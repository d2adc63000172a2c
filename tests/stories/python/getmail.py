"""getmail fetches an inbox into a Maildir: each message once, and leaves it unread; then it moves what it has fetched to Archive.

getmail.py HOST PORT CA USER TOKEN HTTP INBOX_ID
"""
import os
import pathlib
import subprocess
import sys
import tempfile

from two_way import Api, same

RC = """
[retriever]
type = SimpleIMAPSSLRetriever
server = {host}
port = {port}
username = {user}
password = {token}
ca_certs = {ca}
mailboxes = ("INBOX",)
move_on_delete = Archive
[destination]
type = Maildir
path = {mail}/
[options]
read_all = false
delete = {delete}
delivered_to = false
received = false
"""


def main():
    host, port, ca, user, token, http, inbox = sys.argv[1:]
    api = Api(http, token, inbox)
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        mail = root / "mail"
        for part in ("cur", "new", "tmp"):
            (mail / part).mkdir(parents=True)

        (root / "ca.pem").write_bytes(pathlib.Path(ca).read_bytes())
        # It refuses to deliver as root.
        other = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}
        if other:
            subprocess.run(["chown", "-R", "nobody:nogroup", root], check=True)

        def get(delete, subjects):
            text = RC.format(host=host, port=port, user=user, token=token, ca=root / "ca.pem", mail=mail, delete=delete)
            (root / "rc").write_text(text)
            command = ["getmail", f"--getmaildir={root}", "--rcfile=rc"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=root, **other)
            assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
            held = "".join(path.read_text() for path in (mail / "new").iterdir())
            for subject in subjects:
                assert held.count(f"Subject: {subject}\n") == 1, held
                assert held.count(f"The text of {subject}.\n") == 1, held
            assert held.count("Subject: ") == len(subjects), held

        for subject in ("One", "Two"):
            api.receive(user, subject)
        get("false", ["One", "Two"])
        same("REST", api.shown(), {"INBOX": [["One", False, False], ["Two", False, False]]})
        # What REST deletes stays in its Maildir; what is new is fetched, and nothing twice.
        api.call("DELETE", f"/emails/{api.id('One')}")
        api.receive(user, "New")
        get("true", ["One", "Two", "New"])
        same("REST", api.shown(), {"Archive": [["New", False, False], ["Two", False, False]], "Trash": [["One", False, False]]})


main()
