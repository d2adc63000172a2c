"""Random messages with their expected reading: messages(SEED, COUNT).

All are valid, but written in many of the ways that the RFCs allow: folding, comments, quoted strings, encoded words split
between any two characters, charsets, transfer encodings, RFC 2231, nested multiparts.
"""
import base64
import email.utils
import quopri
import random
import urllib.parse

TEXTS = {
    "us-ascii": ["Hello there", "A line. Another one!", "x = y + z", "100% sure?", "From me to you"],
    "iso-8859-1": ["Grüße aus Köln", "déjà vu", "naïve façade"],
    "utf-8": ["Grüße ☃ 日本", "naïve – “quoted”", "emoji 🎉 party"],
    "windows-1251": ["Привет мир", "строка"],
    "koi8-r": ["Привет мир"],
    "iso-2022-jp": ["日本語テキスト", "abc 日本"],
    "shift_jis": ["日本語テキスト"],
    "euc-kr": ["안녕하세요"],
    "iso-2022-kr": ["안녕하세요 abc"],
    "gb2312": ["你好世界"],
    "hz-gb-2312": ["你好 abc"],
    "big5": ["你好世界"],
    "cp437": ["Grüße ░▒▓"],
    "utf-7": ["Grüße + 1"],
}
CODECS = {"hz-gb-2312": "hz"}
NAMES = ["Ann Lee", "Lee, Ann", 'Ann "the" Lee', "O'Neil (home)", "Jürgen Müller", "山田太郎", "Ann B. Lee", "a@b"]
LOCALS = ["ann", "ann.lee", "ann+tag", "a_b-c", "x" * 30]
HOSTS = ["sender.example", "a-b.sender.example", "sub.domain.example"]
ATOM = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~")


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def choose(self, *values):
        return self.random.choice(values)

    def chance(self, one_in):
        return self.random.randrange(one_in) == 0

    def fold(self):
        return self.choose(" ", " ", "\r\n ", "\r\n\t", "  ")

    def encoded(self, text):
        """Text as encoded words, split between characters, and in UTF-8 sometimes within one."""
        fitting = [c for c in ["utf-8", "iso-8859-1", "koi8-r", "iso-2022-jp", "gb2312"] if can(text, c)]
        charset = self.random.choice(fitting)
        if charset == "utf-8" and self.chance(3):
            octets = text.encode()
            cut = self.random.randrange(len(octets) + 1)
            pieces = [octets[:cut], octets[cut:]]
        else:
            cut = self.random.randrange(len(text) + 1)
            pieces = [piece.encode(charset) for piece in (text[:cut], text[cut:])]
        made = []
        for piece in filter(None, pieces):
            if self.chance(2):
                made.append(f"=?{self.case(charset)}?{self.choose('b', 'B')}?{base64.b64encode(piece).decode()}?=")
            else:
                text = "".join("_" if b == 32 else chr(b) if chr(b).isalnum() and b < 128 else f"={b:02X}" for b in piece)
                made.append(f"=?{self.case(charset)}{self.choose('', '*en')}?{self.choose('q', 'Q')}?{text}?=")
        return self.choose(" ", "\r\n ").join(made)

    def case(self, text):
        return self.choose(text, text.upper(), text.title())

    def comment(self):
        return self.choose("", "", "", "(note) ", "(a (b) \\) c) ")

    def phrase(self, name):
        words = name.split(" ")
        if all(set(word) <= ATOM for word in words) and self.chance(2):
            return self.fold().join(words)
        if name.isascii() and self.chance(2):
            return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return self.encoded(name)

    def mailbox(self):
        local, host = self.random.choice(LOCALS), self.random.choice(HOSTS)
        address = f"{local}@{host}"
        form = self.random.randrange(5)
        if form == 0:
            return address, address
        if form == 1:
            return f"<{address}>", address
        name = self.random.choice(NAMES)
        if form == 2 and "(" not in name:
            inside = name if name.isascii() else self.encoded(name)
            return f"{address} ({inside})", f"{name} <{address}>"
        spaced = self.choose(address, address, f"{local} @ {host}", f"{local}@{host.replace('.', ' . ')}")
        return f"{self.comment()}{self.phrase(name)}{self.fold()}<{spaced}>", f"{name} <{address}>"

    def list(self, most):
        pairs = [self.mailbox() for _ in range(self.random.randint(1, most))]
        return f",{self.fold()}".join(raw for raw, _ in pairs), ", ".join(shown for _, shown in pairs)

    def subject(self):
        text = self.random.choice([t for texts in TEXTS.values() for t in texts])
        if text.isascii() and self.chance(2):
            return text, text
        if self.chance(3):
            return f"Re: {self.encoded(text)} and more", f"Re: {text} and more"
        return self.encoded(text), text

    def date(self):
        seconds = self.random.randrange(1_000_000_000, 2_000_000_000)
        zone = self.random.choice([0, 3600, -18_000, 19_800])
        local = email.utils.datetime.datetime.fromtimestamp(seconds, email.utils.datetime.timezone.utc)
        shown = local.strftime("%Y-%m-%dT%H:%M:%SZ")
        local += email.utils.datetime.timedelta(seconds=zone)
        sign, minutes = "-" if zone < 0 else "+", abs(zone) // 60
        raw = local.strftime(self.choose("%a, %d %b %Y %H:%M:%S", "%d %b %Y %H:%M:%S", "%a, %d %b %Y %H:%M:%S"))
        comment = self.choose("", " (zone)")
        return f"{raw} {sign}{minutes // 60:02}{minutes % 60:02}{comment}", shown

    def encode(self, octets):
        """The transfer-encoded body: the name of the encoding, and the octets."""
        if self.chance(2):
            return self.choose("base64", "BASE64", "base64 (comment)"), base64.encodebytes(octets).replace(b"\n", b"\r\n")
        text = quopri.encodestring(octets.replace(b"\r\n", b"\n"), quotetabs=False)
        return self.choose("quoted-printable", "Quoted-Printable"), text.replace(b"\n", b"\r\n")

    def text_part(self, subtype, charset=None):
        charset = charset or self.random.choice(list(TEXTS))
        lines = [self.random.choice(TEXTS[charset]) for _ in range(self.random.randint(1, 3))]
        text = "\r\n".join(f"<p>{line}</p>" if subtype == "html" else line for line in lines)
        octets = text.encode(CODECS.get(charset, charset))
        value = f"text/{subtype};{self.fold()}charset={self.choose(charset, chr(34) + charset + chr(34))}"
        fields = f"Content-Type: {value}\r\n"
        if max(octets) >= 128 or self.chance(2) or charset in ("hz-gb-2312", "utf-7"):
            encoding, octets = self.encode(octets)
            fields += f"Content-Transfer-Encoding: {encoding}\r\n"
        return fields.encode() + b"\r\n" + octets, text.replace("\r\n", "\\n")

    def filename(self):
        """Content-Disposition parameters, and the file name."""
        name = self.random.choice(["a.pdf", "my file.pdf", "Grüße.pdf", "日本.png", "a 'b' %41.txt", "semi;colon.txt"])
        encoded = urllib.parse.quote(name, safe="")
        form = self.random.randrange(4)
        if form == 0 and name.isascii():
            return f'filename="{name}"', name
        if form == 1 and "%" not in name:
            return f'filename="{self.encoded(name)}"', name
        if form == 2:
            cut = self.random.randrange(len(encoded))
            return f"filename*1*={encoded[cut:]};{self.fold()}filename*0*=UTF-8''{encoded[:cut]}", name
        return f"filename*=utf-8'en'{encoded}", name

    def attachment(self):
        parameters, name = self.filename()
        octets = self.random.randbytes(self.random.randint(1, 200))
        kind = self.choose("application/pdf", "image/png", "application/octet-stream")
        head = f"Content-Type: {kind}\r\nContent-Disposition: {self.choose('attachment', 'inline')};{self.fold()}{parameters}\r\n"
        head += "Content-Transfer-Encoding: base64\r\n\r\n"
        return head.encode() + base64.encodebytes(octets).replace(b"\n", b"\r\n"), f"{name} | {kind} | {len(octets)}"

    def multipart(self, subtype, parts):
        boundary = self.choose("b", "=_next", "a b", "'():") + str(self.random.randrange(10**9))
        given = boundary.encode()
        body = self.choose(b"", b"preamble\r\n") + b"".join(b"--" + given + b"\r\n" + part + b"\r\n" for part in parts)
        body += b"--" + given + b"--\r\n" + self.choose(b"", b"epilogue\r\n")
        return f'Content-Type: multipart/{subtype};{self.fold()}boundary="{boundary}"\r\n\r\n'.encode() + body

    def body(self):
        """A body with its fields, and the text shown."""
        shown = {"text": [], "html": [], "attachment": []}

        def take(kind, pair):
            shown[kind].append(pair[1])
            return pair[0]

        form = self.random.randrange(4)
        if form == 0:
            made = take("text", self.text_part("plain"))
        elif form == 1:
            made = take("html", self.text_part("html"))
        elif form == 2:
            plain, html = take("text", self.text_part("plain")), take("html", self.text_part("html"))
            if self.chance(3):
                html = self.multipart("related", [html, take("attachment", self.attachment())])
            made = self.multipart("alternative", [plain, html])
        else:
            kind, subtype = self.choose(("text", "plain"), ("html", "html"))
            before = take(kind, self.text_part(subtype))
            inline = take("attachment", self.attachment())
            made = self.multipart("mixed", [before, inline, take(kind, self.text_part(subtype))])
        if self.chance(3):
            made = self.multipart("mixed", [made, take("attachment", self.attachment())])
        return made, {kind: values if kind == "attachment" else ["\\n".join(values)] for kind, values in shown.items()}

    def message(self):
        (sender, shown_from), (to, shown_to) = self.mailbox(), self.list(3)
        (subject, shown_subject), (date, shown_date) = self.subject(), self.date()
        fields = [f"From: {sender}", f"To:{self.fold()}{to}", f"Subject: {subject}", f"Date: {date}", "MIME-Version: 1.0"]
        self.random.shuffle(fields)
        body, shown = self.body()
        shown |= {"from": [shown_from], "to": [shown_to], "subject": [shown_subject], "date": [shown_date]}
        return ("\r\n".join(fields) + "\r\n").encode() + body, shown


def can(text, charset):
    try:
        return text.encode(charset).decode(charset) == text
    except UnicodeError:
        return False


def messages(seed, count):
    maker = Maker(seed)
    return [(f"generated {seed}, message {number}", *maker.message()) for number in range(count)]
