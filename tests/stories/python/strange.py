"""Strange messages for IMAP's ENVELOPE, BODYSTRUCTURE and sections: messages(SEED, MIXED).

A value of a field or a body that is rare, obsolete or wrong is in one message of its own (`single`), each with a name; MIXED more
are put together of such values at random, in trees of parts. Values follow RFCs 2045-2049, 2183, 2231, 2557, 3282, 3462, 5322 and
6532, and what public bug reports tell of mail programs.
"""
import random
import re

import strange_bodies


def lines(table):
    """The lines of a table, with \\n, \\t and the octet \\xHH for what cannot stand in it."""
    named = {"n": "\n", "t": "\t"}
    octet = lambda found: named.get(found[1]) or bytes([int(found[2], 16)]).decode("utf-8", "surrogateescape")
    return [re.sub(r"\\(?:([nt])|x([0-9a-f]{2}))", octet, line) for line in table.strip("\n").split("\n")]


FROM = "From: Ann Lee <ann@sender.example>\n"

# Values of address fields.
ADDRESSES = lines(r"""
bob@x.example
<bob@x.example>
Bob <bob@x.example>
"Bob" <bob@x.example>
"Lee, Bob" <bob@x.example>, carl@x.example
Bob Lee<bob@x.example>
"Bob"<bob@x.example>
"Bob \"the\" Lee" <bob@x.example>
"Bob \\ Lee" <bob@x.example>
"" <bob@x.example>
"Bob" "Lee" <bob@x.example>
Bob "B" Lee <bob@x.example>
Bob B. Lee <bob@x.example>
B.O.B. <bob@x.example>
=?utf-8?q?B=C3=B6b?= <bob@x.example>
=?utf-8?q?B=C3=B6b?= =?utf-8?b?TGVl?= <bob@x.example>
"=?utf-8?q?B=C3=B6b?=" <bob@x.example>
Böb <bob@x.example>
"Böb, Lee" <bob@x.example>
böb@x.example
bob@ü.example
"bob lee"@x.example
"bob@home"@x.example
"bob\"lee"@x.example
"bob"@x.example
bob+tag@x.example
bob.lee@x.example
!#$%&'*+-/=?^_`{|}~@x.example
bob@[192.0.2.1]
bob@[IPv6:2001:db8::1]
bob@x.example (Bob)
bob@x.example (Bob (the) Lee)
bob@x.example (Bob \) Lee)
(note) bob@x.example
Bob (note) <bob@x.example>
Bob <bob@x.example> (note)
<@relay.example:bob@x.example>
<@a.example,@b.example:bob@x.example>
Bob <@a.example,@b.example:bob@x.example>
friends: bob@x.example, Carl <carl@x.example>;
friends: bob@x.example; , carl@x.example
friends:;
undisclosed-recipients:;
undisclosed recipients: ;
"old friends": bob@x.example;
My "old" friends: bob@x.example;
a: bob@x.example;, b: carl@x.example;
a:;, b:;
bob@x.example,
,bob@x.example
bob@x.example,,carl@x.example
bob@x.example, ,carl@x.example
bob @ x . example
bob . lee @ x.example
bob@x.example\n\t(Bob)
Bob\n Lee\n <bob@x.example>
"Bob\n Lee" <bob@x.example>
Bob <bob@x.example>,\n Carl <carl@x.example>,\n\tDora <dora@x.example>
Bob\t<bob@x.example>
  bob@x.example  
bob
bob, carl
bob@
@x.example
<>
Bob <>
Bob
Bob Lee
Bob <bob>
bob@x.example <bob@x.example>
"bob@x.example" <bob@x.example>
bob@x.example carl@x.example
bob@x.example; carl@x.example
Bob <bob@x.example> Carl <carl@x.example>
<bob@x.example><carl@x.example>
Bob <bob@x.example
bob@x.example>
Bob <<bob@x.example>>
"Bob <bob@x.example>
"Bob" bob@x.example
bob@x.example (Bob
bob@x@y.example
bob..lee@x.example
.bob@x.example
bob.@x.example
bob@x.example.
bob@x..example
bob@-x_y.example
mailto:bob@x.example
Bob [Sales] <bob@x.example>
Bob; Lee <bob@x.example>
Bob: Lee <bob@x.example>
Lee, Bob <bob@x.example>
Bob, <bob@x.example>
Bob's <bob@x.example>
Bob @ Home <bob@x.example>
Bob\Lee <bob@x.example>
<bob@x.example> Bob
<mailto:bob@x.example>
[bob@x.example]
'bob@x.example'
Bob <'bob@x.example'>
Bob < bob@x.example >
Bob <bob@x.example (note)>
<(note)bob@x.example>
bob(note)@x.example
bob@(note)x.example
( ) bob@x.example
() bob@x.example
friends: Bob <bob@x.example>
friends: a: bob@x.example;;
friends: bob@x.example;;
bob@x.example;
""
"" <>
"bob"
(only a comment)
,
;
:
""@x.example
"\b"@x.example
=?utf-8?q?bob=40x.example?=
=?iso-8859-1?q?Lee=2C_B=F6b?= <bob@x.example>
=?utf-8?q?open <bob@x.example>
\xfc <bob@x.example>
bob@x.example (\xfc)
/o=Org/ou=Unit/cn=bob
uucp!host!bob
bob%host@relay.example
postmaster@
+15551234567
""")

# Values of fields that ENVELOPE gives as texts.
TEXTS = lines(r"""
plain
Re: Re: Fwd: [list] plain
  blanks  inside  and around  
tab\tinside
folded\n line
folded\n\tby a tab
folded\n   by three blanks
\n begins on the next line
\n\n 
=?utf-8?q?Gr=C3=BC=C3=9Fe?=
=?utf-8?q?Gr=C3=BC?=\n =?utf-8?q?=C3=9Fe?=
=?utf-8?q?never closed
Grüße
Gr\xfc\xdfe
"quoted"
back\slash "and" quote
(parentheses) and {braces}
{5}
NIL
*
%
percent % star *
[brackets]
~tilde
a@b <c@d>
non breaking blank
日本語
emoji 🎉
control \x01\x1f\x7f
:
::
""") + ["", " ", "x" * 998, "word " * 300, "\n ".join(["folded"] * 200)]

IDS = lines(r"""
<a@b>
<a@b> <c@d>
<a@b>\n <c@d>
a@b
<a b@c>
<"a b"@c>
<a@[192.0.2.1]>
<a@b> (comment)
  <a@b>  
<>
Your message of Monday <a@b>
=?utf-8?q?=3Ca=40b=3E?=
<ä@b>
<a@b
""") + ["", "<" + "x" * 900 + "@b>"]

DATES = lines(r"""
Mon, 02 Nov 2026 10:00:00 +0000
2 Nov 2026 10:00 +0000
Mon,  2 Nov 26 10:00:00 GMT
Mon, 02 Nov 2026 10:00:00 +0000 (UTC)
Mon, 02 Nov 2026\n 10:00:00 +0000
(comment) Mon, 02 Nov 2026 10:00:00 -0000
2026-11-02T10:00:00Z
yesterday
Mon, 31 Feb 2026 25:61:61 +9999
""") + [""]

TYPES = lines(r"""
text/plain
TEXT/PLAIN
Text/Html; Charset=UTF-8
text/plain; charset=utf-8
text/plain; charset="utf-8"
text/plain; charset = utf-8
text/plain ; charset=utf-8 ; format=flowed
text/plain;charset=utf-8;format=flowed;delsp=yes
text/plain;\n charset=utf-8;\n\tformat=flowed
text/plain; (comment) charset=utf-8 (another)
(comment) text/plain
text (comment) / (comment) plain
text / plain
text/plain; charset=us-ascii (Plain text)
text/plain; charset=""
text/plain; charset="a\"b"
text/plain; charset="a\b"
text/plain; charset="back\\slash"
text/plain; charset="a b"
text/plain; charset="a;b=c"
text/plain; charset="folded\n value"
text/plain; CHARSET=UTF-8
text/plain; charset=utf-8;
text/plain;
text/plain; ;
text/plain; charset
text/plain; charset=
text/plain; =utf-8
text/plain; charset=utf-8; charset=iso-8859-1
text/plain charset=utf-8
text/plain, charset=utf-8
text/plain; charset=utf-8, format=flowed
text/plain; charset=utf-8 format=flowed
text/plain; charset: utf-8
text/plain; charset='utf-8'
text/plain; charset="utf-8
text/plain; charset=utf-8"
text/plain; name=grün.txt
text/plain; name="grün.txt"
text/plain; name="gr\xfcn.txt"
text/plain; name=my file.txt
text/plain; name=a[1].txt
text/plain; name=a/b?c=d
text/plain; name=a@b
text/plain; name="=?utf-8?q?gr=C3=BCn?="
text/plain; name*=utf-8''gr%C3%BCn
text/plain; name*=utf-8'de'gr%C3%BCn
text/plain; name*=gr%C3%BCn
text/plain; name*="utf-8''gr%C3%BCn"
text/plain; name*0=a; name*1=b
text/plain; name*1=b; name*0=a
text/plain; name*0="a b"; name*1=" c"
text/plain; name*0*=utf-8''gr%C3; name*1*=%BCn
text/plain; name*0*=utf-8''gr%C3%BC; name*1=n
text/plain; name*0=a; name*1*=%20b
text/plain; name*0=a; name*2=c
text/plain; name*1=b
text/plain; name*00=a; name*01=b
text/plain; name*a=b
text/plain; name=plain; name*=utf-8''ext
text/plain; name*=utf-8''ext; name=plain
text/plain; name*0=a; charset=utf-8; name*1=b
text/plain; name*0=a; name*0=b
text/plain; x=1; y=2; z=3
text/plain; x.y-z=1
text/x-unknown
text/
text
/plain
/
;
""
"text/plain"
"text"/"plain"
text\plain
text/plain/more
text/plain.more+xml
text/*
*/*
x-unknown/x-unknown
X-Token/Y.z
image/png
image/png; name=a.png
image/svg+xml; name="a b.svg"
image
audio/basic
video/mp4
application/octet-stream
application/octet-stream; type=tar; conversions=x
application/pdf; name="a \"b\".pdf"
application/vnd.ms-excel; name="a,b.xls"
application/pgp-signature
application/x; =
application
message/delivery-status
message/disposition-notification
message/partial; id="a@b"; number=1; total=3
message/external-body; access-type=URL; url="http://a.example/"
message/http
message
model/vrml
font/woff
multipart
multipart/mixed
multipart/mixed; boundary
multipart/mixed; boundary=""
multipart/mixed; boundary=nowhere
chemical/x-pdb
grün/gelb
text/grün
""") + ["", " ", "text/plain;" + " a=b;" * 60, "text/plain; name=" + "n" * 500]

ENCODINGS = lines(r"""
7bit
8BIT
binary
Base64
quoted-printable
QUOTED-PRINTABLE
base64 (comment)
(comment) base64
"base64"
base64;
base64; x=y
x-uuencode
7 bit
quoted printable
none
utf-8
bäse64
""") + ["", " "]

DISPOSITIONS = lines(r"""
inline
ATTACHMENT
attachment; filename=a.txt
attachment; filename="a b.txt"
attachment; filename="a\"b.txt"
attachment; filename=a b.txt
attachment;\n filename="a.txt";\n size=5
attachment; filename*=utf-8''gr%C3%BCn.txt
attachment; filename*0*=utf-8''gr%C3; filename*1*=%BCn; filename*2=.txt
attachment; filename*0="a"; filename*1="b"
attachment; filename=u.txt; filename*=utf-8''%C3%BC.txt
attachment; filename="=?utf-8?b?w7wudHh0?="
attachment; filename=ü.txt
attachment; filename=""
attachment; filename=
attachment; filename
attachment;
attachment filename=a.txt
attachment; creation-date="Mon, 2 Nov 2026 10:00:00 +0000"; size=12
attachment (comment); filename=a.txt (comment)
(comment) attachment; filename=a.txt
"attachment"; filename=a.txt
attachment; filename="open
attachment; FileName=a.txt
form-data; name="field"
x-own; a=b
filename=a.txt
; filename=a.txt
;
attachment/x; filename=a.txt
attachment, inline
attachment; filename=a.txt; filename=b.txt
""") + ["", " "]

LANGUAGES = ["en", "EN-gb", "de, en", "de,en,fr", "de , en ,", ", de", ",", "", " ", "de (German)", "(Deutsch) de, en", "de en",
             "i-klingon, x-elbisch", "\"de\"", "de;en", "de,\n en", "grün"]
LOCATIONS = ["http://a.example/b.html", "http://a.example/long/\n path/b.html", "\"http://a.example/\"", "a b.html", "", "cid:a@b",
             "=?utf-8?q?gr=C3=BCn?=", "(comment) http://a.example/", "http://ü.example/", "  b.html  "]
CONTENT_IDS = ["<a@b>", "a@b", "<a@b> (comment)", "", "<a b>", "  <a@b>  ", "<a@b>\n <c@d>", "<ä@b>", "\"a@b\""]
DESCRIPTIONS = ["A picture", "\"quoted\" (and comment)", "=?utf-8?q?gr=C3=BCn?=", "grün", "folded\n text", "", "gr\udcfcn", "a  b"]
DIGESTS = ["Q2hlY2sgSW50ZWdyaXR5IQ==", "", "Q2hlY2sg (comment)", "a b", "\"Q2hl\""]

PART_FIELDS = {
    "Content-Type": TYPES, "Content-Transfer-Encoding": ENCODINGS, "Content-Disposition": DISPOSITIONS, "Content-Language": LANGUAGES,
    "Content-Location": LOCATIONS, "Content-ID": CONTENT_IDS, "Content-Description": DESCRIPTIONS, "Content-MD5": DIGESTS,
}
ENVELOPE_FIELDS = {"Subject": TEXTS, "Message-ID": IDS, "In-Reply-To": IDS, "Date": DATES}
ADDRESS_FIELDS = ["To", "From", "Cc", "Sender", "Reply-To", "Bcc"]

# Header blocks, before a body.
HEADERS = lines(r"""
Subject : blank before the colon
Subject\t: tab before the colon
SUBJECT: capitals
subject:no blank
Subject: first\nSubject: second
From: a@x.example\nFrom: b@x.example
To: a@x.example\nTo: b@x.example\nCc: c@x.example\nCc: d@x.example
Sender:
Sender: \nReply-To:
Reply-To: <>
Reply-To: undisclosed:;
Sender: a@x.example\nSender: b@x.example
Date: a\nDate: b\nMessage-ID: <a@b>\nMessage-ID: <c@d>\nIn-Reply-To: <e@f>\nIn-Reply-To: <g@h>
no colon here\nSubject: behind it
 begins with a blank\nSubject: behind it
: no name\nSubject: behind it
Subject: before\nno colon
Subject: before\n continued\n\t\n  more
Subject: before\n \nX: behind a line of blanks
Subject: a\n\t\n \nTo: b@x.example
X-Grün: eight bits in a name\nSubject: a
X Y: blank in a name\nSubject: a
>From ann@sender.example Mon Nov  2 10:00:00 2026\nSubject: a
From ann@sender.example Mon Nov  2 10:00:00 2026\nSubject: a
Content-Type: text/html\nContent-Type: text/plain
Content-Type: multipart/mixed; boundary=b\nContent-Type: text/plain
Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit
Content-Disposition: inline\nContent-Disposition: attachment
Content-Type : text/html
Content-ID: <a@b>\nContent-ID: <c@d>\nContent-Description: a\nContent-Description: b
Content-Language: de\nContent-Language: en
Content-Location: a\nContent-Location: b
MIME-Version: 2.0\nContent-Type: text/html
MIME-Version: 1.0 (made by hand)\nContent-Type: text/html
Resent-From: a@x.example\nResent-To: b@x.example\nSubject: a
Subject: a\nReferences: <a@b>\n <c@d>
""")
HEADERS += ["X-Long: " + "x" * 5000, "\n".join(f"X-{n}: {n}" for n in range(300)), "To: " + ", ".join(f"p{n}@x.example" for n in range(300))]


def message(fields, body="\nx\n"):
    """The octets of a message of these lines, of which the body's begin with the empty one or with fields."""
    return (fields + body).replace("\n", "\r\n").encode("utf-8", "surrogateescape")


def single():
    """A message for each strange value: name and octets."""
    for value in ADDRESSES:
        # Each in one field, which other values do not change, and unless that is the author's below an ordinary From.
        name = ADDRESS_FIELDS[sum(message(value)) % len(ADDRESS_FIELDS)]
        yield f"{name}: {value}", message(("" if name == "From" else FROM) + f"{name}: {value}\nSubject: a\n")
    for name, values in ENVELOPE_FIELDS.items():
        yield from ((f"{name}: {value}", message(f"{FROM}{name}: {value}\n")) for value in values)
    for name, values in PART_FIELDS.items():
        for value in values:
            other = "" if name == "Content-Type" else "Content-Type: text/plain\n"
            yield f"{name}: {value}", message(f"{FROM}{other}{name}: {value}\n", "\n--nowhere\n\nx\n")
            inside = f"--b\n{name}: {value}\n{other}\nx\n--b\n\ntwo\n--b--\n"
            yield f"in a part: {name}: {value}", message(FROM, strange_bodies.multipart(inside))
    for value in HEADERS:
        yield f"header: {value}", message(f"{value}\n")
        yield f"header in a message: {value}", message(FROM, strange_bodies.within(f"{value}\n\nx\n"))
    for name, body in strange_bodies.BODIES.items():
        yield f"body: {name}", message(f"{FROM}Subject: a\nMIME-Version: 1.0\n", body)


def odd_value(name, value, odd):
    """True if a message that has the value alone is in `odd`; an address may be there in another field."""
    names = ADDRESS_FIELDS if name in ADDRESS_FIELDS else [name, f"in a part: {name}"]
    return any(f"{one}: {value}" in odd for one in names)


class Mixer:
    """Messages of strange values, many in each."""

    def __init__(self, seed, odd):
        self.random = random.Random(seed)
        even = lambda named: {name: [value for value in values if not odd_value(name, value, odd)] for name, values in named.items()}
        # What holds no address is shown otherwise in some fields alone.
        addresses = [value for value in ADDRESSES if re.search("[a-z]", value)]
        self.of_envelopes = even(ENVELOPE_FIELDS | {name: addresses for name in ADDRESS_FIELDS})
        # Multiparts are made with their bodies.
        leaves = [value for value in TYPES if not value.startswith("multipart")]
        self.of_parts = even(PART_FIELDS | {"Content-Type": leaves})

    def fields(self, named, chance):
        chosen = [name for name in named if self.random.random() < chance]
        self.random.shuffle(chosen)
        return "".join(f"{name}: {self.random.choice(named[name])}\n" for name in chosen)

    def envelope(self):
        return self.fields(self.of_envelopes, 0.5)

    def entity(self, depth=0):
        """The fields of a part from its own Content-Type on, and its body."""
        form = self.random.random()
        if depth < 4 and form < 0.45:
            boundary = self.random.choice(["b", "=_x", "a b", "'():", "----=_Part"]) + str(depth)
            parts = [self.entity(depth + 1) for _ in range(self.random.randint(1, 3))]
            inside = self.random.choice(["", "preamble\n", "\n"]) + "".join(f"--{boundary}\n{part}\n" for part in parts)
            end = self.random.choice([f"--{boundary}--\nepilogue\n", "", f"--{boundary}\nContent-Type: text/plain\n\nrest\n"])
            kind = self.random.choice(["mixed", "alternative", "related", "digest", "x-own"])
            others = {name: values for name, values in self.of_parts.items() if name != "Content-Type"}
            return self.fields(others, 0.2) + strange_bodies.multipart(inside + end, boundary, kind)
        if depth < 4 and form < 0.6:
            return self.fields({"Content-ID": CONTENT_IDS}, 0.3) + strange_bodies.within(self.envelope() + self.entity(depth + 1))
        text = self.random.choice(["", "x", "x\n", "one\ntwo\n", "\n\n", "Grüße\n"])
        kind = self.random.choice(self.of_parts["Content-Type"])
        others = {name: values for name, values in self.of_parts.items() if name != "Content-Type"}
        return f"Content-Type: {kind}\n{self.fields(others, 0.4)}\n{text}"


def messages(seed, mixed, odd=()):
    """All messages with their names. What is in a message whose name is in `odd` is not mixed with others."""
    made = list(single())
    mixer = Mixer(seed, odd)
    made += [(f"mixed {seed}, message {number}", message(mixer.envelope(), mixer.entity())) for number in range(mixed)]
    return made
