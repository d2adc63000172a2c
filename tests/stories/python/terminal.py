"""Runs a command in a pseudo-terminal: terminal.py COLUMNS ROWS LOG COMMAND...

Prints JSON: the exit code, everything written, and the screen after each redraw, as a terminal shows it. Output is also written to
the file LOG at once.
"""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

TOKEN = re.compile(r"\x1b\[(\d*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")


class Screen:
    """Enough of a terminal for a table that is redrawn."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines, self.row, self.column = [""], 0, 0

    def write(self, text):
        for number, letter, carriage, feed, plain in TOKEN.findall(text):
            if letter == "A":
                # The cursor stops at the first visible line.
                self.row = max(self.row - int(number or 1), len(self.lines) - self.rows, 0)
            elif letter == "J":
                self.lines = self.lines[: self.row] + [self.lines[self.row][: self.column]]
            elif carriage:
                self.column = 0
            elif feed:
                self.row += 1
                if self.row == len(self.lines):
                    self.lines.append("")
            elif plain:
                for character in plain:
                    if self.column == self.columns:
                        self.row, self.column = self.row + 1, 0
                        if self.row == len(self.lines):
                            self.lines.append("")
                    line = self.lines[self.row].ljust(self.column)
                    self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
                    self.column += 1


def main():
    columns, rows, log, *command = sys.argv[1:]
    columns, rows = int(columns), int(rows)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        written += part
        with open(log, "ab") as file:
            file.write(part)
    text = written.decode()
    screens = []
    screen = Screen(columns, rows)
    # Each redraw begins by moving up.
    for picture in re.split(r"(?=\x1b\[\d+A)", text):
        screen.write(picture)
        screens.append("\n".join(screen.lines).rstrip("\n"))
    print(json.dumps({"code": child.wait(), "written": text, "screens": screens}))


main()
