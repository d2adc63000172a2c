"""Sends standard input with smtplib: send.py HOST PORT starttls|tls CA USER PASSWORD FROM TO...

Prints {"code": …, "text": …} of the last reply, also if log-in, sender or recipient is refused.
"""
import json
import smtplib
import ssl
import sys

host, port, mode, ca, user, password, sender, *recipients = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
if mode == "tls":
    smtp = smtplib.SMTP_SSL(host, int(port), context=context, timeout=60)
else:
    smtp = smtplib.SMTP(host, int(port), timeout=60)
    smtp.starttls(context=context)


def answer(code, text):
    print(json.dumps({"code": code, "text": text.decode(errors="replace")}))
    sys.exit(0)


with smtp:
    try:
        smtp.login(user, password)
    except smtplib.SMTPAuthenticationError as error:
        answer(error.smtp_code, error.smtp_error)
    code, text = smtp.mail(sender)
    if code != 250:
        answer(code, text)
    for recipient in recipients:
        code, text = smtp.rcpt(recipient)
        if code not in (250, 251):
            answer(code, text)
    try:
        code, text = smtp.data(sys.stdin.buffer.read())
    except smtplib.SMTPDataError as error:
        code, text = error.smtp_code, error.smtp_error
    answer(code, text)
