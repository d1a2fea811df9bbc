"""A program in a terminal of its own, and what it has written there."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time

PATIENCE = 60
"""Seconds after which what has not been written will not be."""
_ORDER = re.compile(r"\x1b(\[[0-9;?<=>!]*[ -/]*[@-~]|[PX^_\]].*?(\x1b\\|\x07)|[@-Z\\-_])", re.S)


def _without_size():
    """The environment without a size of another terminal: workers of pytest have one."""
    return {name: text for name, text in os.environ.items() if name not in {"LINES", "COLUMNS"}}


class Terminal:
    """Starts a program on a pty that is its own; ends it when the block ends."""

    def __init__(self, words, folder, size=(80, 24), **environment):
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self._process = subprocess.Popen(
            words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  # Ctrl-C is heard
            env={**_without_size(), "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, text):
        os.write(self._ours, text.encode())

    @property
    def written(self):
        """All that was written, without what moves the cursor or colours."""
        return _ORDER.sub("", self.raw)

    def read(self, seconds=0.1):
        """Take what is written; False once the program has closed its end."""
        if select.select([self._ours], [], [], seconds)[0]:
            try:
                self.raw += os.read(self._ours, 65_536).decode("utf-8", "replace")
            except OSError:
                return False
        return True

    def wait_for(self, *texts):
        """Read until every text was written."""
        end = time.monotonic() + PATIENCE
        while not all(text in self.written for text in texts):
            is_open = self.read()
            assert is_open, self.written[-3_000:]
            assert time.monotonic() < end, self.written[-3_000:]

    def ended(self):
        """The exit code, once it has ended by itself."""
        while self.read():
            if self._process.poll() is not None:
                break
        return self._process.wait(PATIENCE)
