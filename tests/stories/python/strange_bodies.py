"""Bodies for strange.py: each the end of a message, from its Content-Type on."""


def multipart(inside, boundary="b", kind="mixed", quoted=True):
    given = f'"{boundary}"' if quoted else boundary
    return f"Content-Type: multipart/{kind}; boundary={given}\n\n{inside}"


def one(part, boundary="b"):
    """A multipart of one part."""
    return multipart(f"--{boundary}\n{part}--{boundary}--\n", boundary)


def within(message):
    """A message/rfc822 part as a body of its own."""
    return f"Content-Type: message/rfc822\n\n{message}"


LF = "\n"
PART = "Content-Type: text/html; charset=utf-8\n\n<p>one</p>\n"
TWO = f"--b\n{PART}--b\nContent-Type: image/png; name=a.png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n"
INNER = "From: Bo <bo@inner.example>\nTo: cy@inner.example\nSubject: within\nMessage-ID: <in@inner.example>\n"

BODIES = {
    "no body": "",
    "an empty body": "\n",
    "one line without an end": "\nx",
    "empty lines alone": "\n\n\n\n",
    "eight bits": "\nGrüße \udcfc\n",
    "two parts": multipart(TWO + "--b--\n"),
    "no closing delimiter": multipart(TWO),
    "ends in a delimiter": multipart(TWO + "--b"),
    "ends in a delimiter's line": multipart(TWO + "--b\n"),
    "ends in a header": multipart(TWO + "--b\nContent-Type: text/html"),
    "ends in a header's line": multipart(TWO + "--b\nContent-Type: text/html\n"),
    "ends behind a header": multipart(TWO + "--b\nContent-Type: text/html\n\n"),
    "closing delimiter without an end": multipart(TWO + "--b--"),
    "closing delimiter alone": multipart("--b--\n"),
    "delimiter alone": multipart("--b\n"),
    "both delimiters alone": multipart("--b\n--b--\n"),
    "both delimiters and an empty line": multipart("--b\n\n--b--\n"),
    "both delimiters and two empty lines": multipart("--b\n\n\n--b--\n"),
    "empty body of a multipart": multipart(""),
    "no body of a multipart": 'Content-Type: multipart/mixed; boundary="b"\n',
    "preamble alone": multipart("preamble\n"),
    "preamble and epilogue": multipart(f"preamble\nof two lines\n{TWO}--b--\nepilogue\nof two lines\n"),
    "preamble without an empty line before": multipart("preamble\n" + TWO + "--b--\n\n\n"),
    "empty line before the first delimiter": multipart("\n" + TWO + "--b--\n"),
    "delimiter behind the closing one": multipart(f"{TWO}--b--\n--b\n\nlate\n--b--\n"),
    "blanks behind delimiters": multipart("--b  \n\none\n--b\t\n\ntwo\n--b-- \t\n"),
    "blanks before delimiters": multipart("--b\n\none\n --b\n\ntwo\n--b--\n"),
    "text behind delimiters": multipart("--b\n\none\n--bc\n\ntwo\n--b-\nthree\n--b--x\nfour\n--b--\n"),
    "one hyphen": multipart("--b\n\none\n-b\ntwo\n---b\nthree\n--b--\n"),
    "delimiter in another case": multipart("--B\n\none\n--B--\n", "b"),
    "parts without an empty line": multipart("--b\nContent-Type: text/html\n--b\n\ntwo\n--b--\n"),
    "parts without a header": multipart("--b\n\none\n--b\n\ntwo\n--b--\n"),
    "parts that begin with text": multipart("--b\nno header here\nat all\n--b--\n"),
    "parts that begin with a blank": multipart("--b\n folded: x\nContent-Type: text/html\n\none\n--b--\n"),
    "parts of empty lines": multipart("--b\n\n\n\n--b\n\n\n--b--\n"),
    "lines of hyphens": multipart("--b\n\n--\n---\n----\n--b--\n"),
    "boundary of one sign": multipart("--'\n\none\n--'--\n", "'"),
    "boundary of odd signs": multipart("--'()+_,-./:=?\n\none\n--'()+_,-./:=?--\n", "'()+_,-./:=?"),
    "boundary with a blank": multipart("--a b\n\none\n--a b--\n", "a b"),
    "boundary that ends in a blank": multipart("--b \n\none\n--b --\n", "b "),
    "boundary that begins with hyphens": multipart("----b\n\none\n----b--\n", "--b"),
    "boundary that ends in hyphens": multipart("--b--\n\none\n--b----\n", "b--"),
    "boundary of hyphens": multipart("----\n\none\n------\n", "--"),
    "boundary of 70": multipart(f"--{'x' * 70}\n\none\n--{'x' * 70}--\n", "x" * 70),
    "boundary of 200": multipart(f"--{'x' * 200}\n\none\n--{'x' * 200}--\n", "x" * 200),
    "boundary with an escape": multipart("--a\"b\n\none\n--a\"b--\n", 'a\\"b'),
    "boundary in eight bits": multipart("--grün\n\none\n--grün--\n", "grün"),
    "boundary unquoted with an equals sign": multipart("--a=b\n\none\n--a=b--\n", "a=b", quoted=False),
    "boundary unquoted with a slash": multipart("--a/b\n\none\n--a/b--\n", "a/b", quoted=False),
    "boundary unquoted with a question mark": multipart("--a?b\n\none\n--a?b--\n", "a?b", quoted=False),
    "boundary in sections": "Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\n\n--ab\n\none\n--ab--\n",
    "boundary extended": "Content-Type: multipart/mixed; boundary*=us-ascii''a%20b\n\n--a b\n\none\n--a b--\n",
    "boundary twice": "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n--a\n\none\n--b\n\ntwo\n--a--\n",
    "boundary with a comment": "Content-Type: multipart/mixed; boundary=b (note)\n\n--b\n\none\n--b--\n",
    "boundary and more": "Content-Type: multipart/related; boundary=b; type=\"text/html\"; start=\"<a@b>\"\n\n" + TWO + "--b--\n",
    "boundary with an encoded line end": multipart("--b\n\none\n--b--\n", "b").replace("mixed;", "mixed;\n\t"),
    "subtype unknown": multipart(TWO + "--b--\n", kind="x-unknown"),
    "subtype in capitals": multipart(TWO + "--b--\n", kind="MIXED"),
    "subtype missing": multipart(TWO + "--b--\n", kind=""),
    "fields of a multipart": "Content-Disposition: inline; a=b\nContent-Language: de, en\nContent-Location: http://a.example/\n"
    "Content-ID: <a@b>\nContent-Description: a\nContent-MD5: b\nContent-Transfer-Encoding: 8bit\n" + multipart(TWO + "--b--\n"),
    "encoding of a multipart": "Content-Transfer-Encoding: base64\n" + multipart(TWO + "--b--\n"),
    "signed": multipart("--b\n\none\n--b\nContent-Type: application/pgp-signature\n\nsig\n--b--\n", kind="signed"),
    "report": multipart(
        "--b\n\nfailed\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; a.example\n\nFinal-Recipient: rfc822; a@b\n"
        f"--b\nContent-Type: text/rfc822-headers\n\n{INNER}\n--b--\n",
        kind="report",
    ),
    "form-data": multipart('--b\nContent-Disposition: form-data; name="a"\n\none\n--b--\n', kind="form-data"),
    "digest": multipart(f"--b\n\n{INNER}\none\n--b\n\n{INNER}\ntwo\n--b--\n", kind="digest"),
    "digest of one text": multipart(f"--b\nContent-Type: text/plain\n\none\n--b\n\n{INNER}\ntwo\n--b--\n", kind="digest"),
    "digest of an empty part": multipart("--b\n\n--b--\n", kind="digest"),
    "digest with fields of parts": multipart(f"--b\nContent-ID: <a@b>\n\n{INNER}\none\n--b--\n", kind="digest"),
    "digest of nonsense": multipart("--b\nContent-Type: ;\n\none\n--b--\n", kind="digest"),
    "multipart within a multipart": one(one(PART, "c")),
    "same boundary within": one(one(PART)),
    "boundary that begins with the outer one": one(one(PART, "bb")),
    "boundary that the outer one begins with": one(one(PART), "bb"),
    "inner multipart not closed": multipart(f"--b\n{multipart('--c' + LF + PART, 'c')}--b\n\ntwo\n--b--\n"),
    "inner multipart without its boundary": multipart(f"--b\n{multipart('text' + LF, 'c')}--b\n\ntwo\n--b--\n"),
    "inner multipart empty": multipart(f"--b\n{multipart('', 'c')}--b\n\ntwo\n--b--\n"),
    "inner multipart without a body": multipart('--b\nContent-Type: multipart/mixed; boundary="c"\n--b\n\ntwo\n--b--\n'),
    "outer delimiter within an inner part": one(one(f"{PART}--b\n\ntwo\n", "c")),
    "message": within(f"{INNER}\none\n"),
    "message without a body": within(INNER),
    "message without fields": within("\none\n"),
    "message that is empty": within(""),
    "message of one field without an end": within("Subject: x"),
    "message of one line": within("no header here\n"),
    "message in capitals": "Content-Type: Message/RFC822; name=a.eml\n\n" + INNER + "\none\n",
    "message in base64": f"Content-Transfer-Encoding: base64\n{within('RnJvbTogYUBiCgpvbmUK')}\n",
    "message in quoted-printable": f"Content-Transfer-Encoding: quoted-printable\n{within('Subject: a=20b' + LF + LF + 'one' + LF)}",
    "message global": f"Content-Type: message/global\n\n{INNER.replace('within', 'grün')}\none\n",
    "message with fields of its part":
    f"Content-Disposition: attachment; filename=a.eml\nContent-Description: a\nContent-ID: <a@b>\n{within(INNER + LF + 'one' + LF)}",
    "message of a multipart": within(INNER + multipart(TWO + "--b--\n")),
    "message of a multipart not closed": within(INNER + multipart(TWO)),
    "message of a message": within(INNER + within(f"{INNER}\none\n")),
    "message of a message of a multipart": within(INNER + within(INNER + multipart(TWO + "--b--\n"))),
    "message in a multipart": multipart(f"--b\n{within(INNER + LF + 'one' + LF)}--b\n\ntwo\n--b--\n"),
    "message without a body in a multipart": multipart(f"--b\n{within(INNER)}--b\n\ntwo\n--b--\n"),
    "message that is empty in a multipart": multipart(f"--b\n{within('')}--b\n\ntwo\n--b--\n"),
    "message without an empty line in a multipart": multipart("--b\nContent-Type: message/rfc822\n--b\n\ntwo\n--b--\n"),
    "multipart in a message in a multipart": one(within(INNER + one(PART, "c"))),
    "outer delimiter in a message's multipart": multipart(f"--b\n{within(INNER + multipart('--c' + LF + PART, 'c'))}--b\n\ntwo\n--b--\n"),
    "outer delimiter in a message's header": multipart("--b\nContent-Type: message/rfc822\n\nSubject: cut\n--b\n\ntwo\n--b--\n"),
    "message with a line of From": within("From bo@inner.example Mon Nov  2 10:00:00 2026\n" + INNER + "\none\n"),
    "message partial": "Content-Type: message/partial; id=\"a@b\"; number=1\n\n" + INNER + "\none\n",
    "message external-body": 'Content-Type: message/external-body; access-type="anon-ftp"; site=a.example\n\nContent-Type: image/png\n\n',
    "message in a digest in a message": within(INNER + multipart(f"--b\n\n{INNER}\none\n--b--\n", kind="digest")),
    "seven levels": "".join(f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n' for n in range(7)) + PART,
    "a hundred parts": multipart("".join(f"--b\nContent-ID: <{n}@b>\n\n{n}\n" for n in range(100)) + "--b--\n"),
    "long lines": "\n" + ("x" * 5000 + "\n") * 3,
    "lines of dots": "\n.\n..\n...\n",
    "lines of From": "\nFrom a\n>From b\n",
    "applefile": multipart(
        "--b\nContent-Type: multipart/appledouble; boundary=c\n\n--c\nContent-Type: application/applefile; name=\"a\"\n"
        "Content-Transfer-Encoding: base64\n\nAAUWBw==\n--c\nContent-Type: image/jpeg; name=\"a.jpg\"\n\n/9j/\n--c--\n--b--\n"
    ),
    "html in related in alternative in mixed": multipart(
        "--b\n"
        + multipart("--c\n\none\n--c\n" + multipart("--d\n" + PART + "--d\nContent-ID: <a@b>\nContent-Type: image/png\n\nx\n--d--\n", "d", "related")
                    + "--c--\n", "c", "alternative")
        + "--b\nContent-Disposition: attachment; filename=a.pdf\nContent-Type: application/pdf\n\nx\n--b--\n"
    ),
    "calendar": multipart("--b\nContent-Type: text/calendar; method=REQUEST; charset=UTF-8\n\nBEGIN:VCALENDAR\nEND:VCALENDAR\n--b--\n", kind="alternative"),
    "uuencoded": "\nbegin 644 a.txt\n#0V%T\n`\nend\n",
    "yenc": "\n=ybegin line=128 size=1 name=a\n\udcfe\n=yend size=1\n",
}
