"""A real PostgreSQL on this machine: its own password, loopback only, ready for capture."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.processes import started
from lakehouse.core.signals import uninterrupted
from lakehouse.core.text import Say
from lakehouse.core.within import rewritten
from lakehouse.services.embedded import PROBE_SECONDS, READY_SECONDS, Embedded
from lakehouse.services.folder import HOST
from lakehouse.services.postgres_files import ROLE, SETTINGS, PostgresFiles


class EmbeddedPostgres(Embedded):
    """The database server of one lake: started here, or adopted if it already runs.

    Its data, log and password are under ``postgres`` in the home of the lake's services.
    ``url`` names the password's file and holds no secret.
    """

    name, log = "embedded Postgres", "postgres.log"
    stops = (signal.SIGINT, signal.SIGQUIT)

    def __init__(
        self, files: PostgresFiles, port: int, pid: int, process: subprocess.Popen[bytes] | None
    ) -> None:
        passfile = quote(str(files.folder / "pgpass"), safe="/")
        self.url = f"postgresql://{ROLE}@{HOST}:{port}/postgres?passfile={passfile}"
        super().__init__(files, self.url, pid, process)
        self._files, self.port = files, port

    @classmethod
    def start(cls, home: Path, *, say: Say = lambda _: None) -> EmbeddedPostgres:
        """The running server of this lake, once it has accepted our password.

        When two processes start at the same time, one starts the server and the other adopts
        it. ServiceUnavailable, with the end of the log, if none answers within a minute.
        """
        files = PostgresFiles(home.resolve() / "postgres")
        try:
            files.make()
            with one_at_a_time(files.folder / "start.lock"):
                return cls._launch(files, say)
        except OSError as error:
            raise ServiceUnavailable(
                str(files.folder), f"cannot be used: {error}", "mend the folder's rights"
            ) from None

    @classmethod
    def running(cls, home: Path) -> EmbeddedPostgres | None:
        """This lake's server, or None if none runs and accepts our password; starts nothing."""
        files = PostgresFiles(home.resolve() / "postgres")
        found = files.record.running()
        server = cls(files, found.port, found.pid, None) if found else None
        return server if server and server._answers() else None

    @classmethod
    def _adopt(cls, files: PostgresFiles, say: Say) -> EmbeddedPostgres | None:
        """The server that already runs here, or None; after a kill -9 it may still be starting."""
        deadline = time.monotonic() + READY_SECONDS
        while (running := files.record.running()) is not None:
            server = cls(files, running.port, running.pid, None)
            if server._answers():
                say(f"Postgres already runs: psql '{server.url}'")
                return server
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    "embedded Postgres",
                    f"process {server.pid} holds {files.folder} and does not answer",
                    f"end it with: kill -QUIT {server.pid}",
                )
            time.sleep(PROBE_SECONDS)
        return None

    @classmethod
    def _launch(cls, files: PostgresFiles, say: Say) -> EmbeddedPostgres:
        """The server that already runs, or a new one."""
        began = time.monotonic()
        if not files.data.exists():
            files.initialise()
        while (adopted := cls._adopt(files, say)) is None:
            port = files.port()
            command = files.command({**SETTINGS, "port": str(port)})
            server: EmbeddedPostgres | None = None
            try:
                with uninterrupted(), rewritten(files.folder, "postgres.log") as out:
                    process = started(
                        command, cwd=files.folder, stdin=subprocess.DEVNULL, stdout=out,
                        stderr=subprocess.STDOUT,
                    )  # fmt: skip
                    server = cls(files, port, process.pid, process)
                    files.record.remember(process.pid, port)
                if server._is_ready(process, began + READY_SECONDS):
                    say(f"Postgres in {time.monotonic() - began:.1f} s: psql '{server.url}'")
                    return server
            except BaseException:
                if server is not None:
                    server.stop()
                raise
        return adopted

    def _is_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Wait for an answer; False if the server should be started once more."""
        while not self._answers():
            gone, tail = process.poll() is not None, self._files.tail()
            taken = "is still in use" in tail or "postmaster.pid" in tail
            if gone and taken and time.monotonic() < deadline:
                time.sleep(PROBE_SECONDS * 4)  # left by a kill -9: it still ends
                return False
            if gone or time.monotonic() > deadline:
                raise self.not_ready(is_gone=gone)
            time.sleep(PROBE_SECONDS)
        return True

    def _answers(self) -> bool:
        """Whether a server answers there, accepts our password, and is this lake's."""
        running = self._files.record.running()
        if running is None or running.pid != self.pid:
            return False
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
