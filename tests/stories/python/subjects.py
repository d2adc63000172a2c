"""Counts the subjects in INBOX, over IMAP.

usage: subjects.py HOST PORT CA USER TOKEN
"""

import collections
import email.parser
import imaplib
import json
import ssl
import sys

host, port, ca, user, token = sys.argv[1:]
with imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca)) as client:
    client.login(user, token)
    client.select("INBOX", readonly=True)
    _, answers = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
parser = email.parser.BytesHeaderParser()
subjects = collections.Counter(parser.parsebytes(a[1])["Subject"] for a in answers if isinstance(a, tuple))
print(json.dumps(subjects))
