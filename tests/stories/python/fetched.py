"""A client of IMAP that reads FETCH responses apart: lists, strings as bytes, NIL as None."""
import re
import socket
import ssl
import subprocess


class Reply:
    """Parses a FETCH response: lists, strings as bytes, NIL as None."""

    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def value(self):
        while self.octets[self.at : self.at + 1] == b" ":
            self.at += 1
        first = self.octets[self.at : self.at + 1]
        if first == b"(":
            self.at, found = self.at + 1, []
            while True:
                while self.octets[self.at : self.at + 1] == b" ":
                    self.at += 1
                if self.octets[self.at : self.at + 1] == b")":
                    self.at += 1
                    return found
                found.append(self.value())
        if literal := LITERAL.match(self.octets, self.at):
            start, size = literal.end(), int(literal[1])
            self.at = start + size
            return self.octets[start : self.at]
        if quoted := QUOTED.match(self.octets, self.at):
            self.at = quoted.end()
            return re.sub(rb"\\(.)", rb"\1", quoted[1])
        atom = ATOM.match(self.octets, self.at)
        assert atom, self.octets[self.at : self.at + 80]
        self.at = atom.end()
        return None if atom[0] == b"NIL" else atom[0]


# Commands that are sent before their responses are read.
AT_ONCE = 20
LITERAL = re.compile(rb"\{(\d+)\}\r\n")
QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S)
# A section's name holds blanks and parentheses.
ATOM = re.compile(rb"[A-Z0-9.]+\[[^]]*\](?:<\d+>)?|[^ ()]+")


class Connection:
    """One connection; commands are sent one by one, or several at once."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.tags = reader, writer, 0
        self.greeting = self.response()

    @classmethod
    def over_tls(cls, host, port, ca, user, token):
        tls = ssl.create_default_context(cafile=ca).wrap_socket(socket.create_connection((host, port), timeout=60), server_hostname=host)
        connection = cls(tls.makefile("rb"), tls.makefile("wb"))
        connection.run(f'LOGIN "{user}" "{token}"')
        return connection

    @classmethod
    def of_program(cls, command, environment):
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        return cls(program.stdout, program.stdin)

    def response(self):
        """A response with its literals, without its last line end."""
        line = self.reader.readline()
        assert line, "the connection has ended"
        octets = line
        while literal := re.search(rb"\{(\d+)\}\r\n$", line):
            line = self.reader.read(int(literal[1]))
            octets += line
            line = self.reader.readline()
            octets += line
        return octets.removesuffix(b"\r\n")

    def send(self, command):
        self.tags += 1
        text = command.encode() if isinstance(command, str) else command
        tag = b"t%d" % self.tags
        self.writer.write(tag + b" " + text + b"\r\n")
        return tag

    def finish(self, *tags):
        """The untagged responses up to the end of all these commands, which succeed. Dovecot ends some out of order."""
        self.writer.flush()
        found, open_tags = [], set(tags)
        while open_tags:
            response = self.response()
            tag = response.partition(b" ")[0]
            if tag in open_tags:
                assert response.startswith(tag + b" OK"), response
                open_tags.remove(tag)
            else:
                found.append(response)
        return found

    def run(self, command):
        return self.finish(self.send(command))

    def fetch(self, wanted):
        """The items of several FETCH commands, given as pairs of a sequence set and items: by message, then by name."""
        found = {}
        for at in range(0, len(wanted), AT_ONCE):
            tags = [self.send(f"FETCH {messages} ({items})") for messages, items in wanted[at : at + AT_ONCE]]
            for response in self.finish(*tags):
                if fetched := re.match(rb"\* (\d+) FETCH ", response):
                    found.setdefault(int(fetched[1]), {}).update(pairs(response[fetched.end() :]))
        return found


def pairs(items):
    """The items of a FETCH response by name."""
    values = Reply(items).value()
    return {name.decode().upper(): value for name, value in zip(values[::2], values[1::2])}
