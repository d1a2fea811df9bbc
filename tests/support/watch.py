"""What the processes of a command show to others: command lines, and addresses they listen on."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]


class Watch(threading.Thread):
    """Every command line of a process and its descendants; where asked, listening addresses too.

    To look for those takes a third of a core.
    """

    def __init__(self, pid: int, *, listens: bool = False) -> None:
        super().__init__(daemon=True)
        self._listens = listens
        self.command_lines: set[str] = set()
        self.listening: set[tuple[str, str]] = set()
        self._root, self._done, self._looks = psutil.Process(pid), threading.Event(), 0

    def run(self) -> None:
        while not self._done.wait(0.2):
            self._looks += 1
            with suppress(psutil.Error):
                for process in [self._root, *self._root.children(recursive=True)]:
                    with suppress(psutil.Error):
                        self._look(process)

    def _look(self, process: psutil.Process) -> None:
        self.command_lines.add(" ".join(process.cmdline()))
        for connection in process.net_connections("inet") if self._listens else ():
            is_udp = connection.type == socket.SOCK_DGRAM and not connection.raddr
            if connection.status == psutil.CONN_LISTEN or is_udp:
                self.listening.add((process.name(), connection.laddr.ip))

    def look_again(self) -> None:
        """Wait until every process that is there now was looked at."""
        after, deadline = self._looks + 2, time.monotonic() + 200
        while self._looks < after:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        self._done.set()
        self.join()


def with_web_page(folder: Path, port: int) -> dict[str, str]:
    """The environment of a run that serves Spark's web page on this port."""
    text = (ROOT / "config.ini").read_text()
    assert "[spark.conf]" in text
    config = folder / "config.ini"
    config.write_text(text.replace("[spark.conf]", f"[spark.conf]\nspark.ui.port = {port}"))
    return {"LAKEHOUSE_SPARK_UI": "true", "LAKEHOUSE_CONFIG": str(config)}
