"""The embedded Postgres's whole life, and connections as settings say them, TLS among them."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from lakehouse.core.errors import ServiceUnavailable, SettingsError
from lakehouse.services import postgres_files
from lakehouse.services.home import home_of, move_in
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.services.postgres_files import ROLE, PostgresFiles
from lakehouse.settings.postgres_client import connect
from tests.live.conftest import open_folder
from tests.live.orders_table import ROOT, Orders, current
from tests.live.secured_broker import make_certificates

pytestmark = pytest.mark.live


def one(url, text):
    with closing(psycopg.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchone()[0]


@pytest.fixture
def tmp_path():
    with open_folder() as folder:
        yield folder


def test_a_server_lives_is_adopted_dies_and_comes_back(tmp_path):
    root = tmp_path / "la ke, é"
    start = partial(EmbeddedPostgres.start, root, say=print)
    assert EmbeddedPostgres.running(root) is None

    with ThreadPoolExecutor(2) as two:
        both = [future.result() for future in [two.submit(start), two.submit(start)]]
    first, adopted = sorted(both, key=lambda server: server.adopted)
    assert (first.adopted, adopted.adopted) == (False, True)
    assert first.pid == adopted.pid == EmbeddedPostgres.running(root).pid
    process = psutil.Process(first.pid)
    assert os.getsid(first.pid) == first.pid != os.getsid(0)
    listening = {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    _is_bare(process.pid)

    assert one(first.url, "SHOW wal_level") == "logical"
    with closing(psycopg.connect(first.url)) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 7 AS n")
        connection.commit()

    adopted.stop()
    assert process.is_running()
    process.kill()
    process.wait()
    with start() as second:
        assert not second.adopted
        assert second.pid != first.pid
        assert second.port == first.port
        first.stop()
        assert one(second.url, "SELECT n FROM t") == 7
    assert not psutil.pid_exists(second.pid)
    assert EmbeddedPostgres.running(root) is None
    second.stop()


def _is_bare(pid):
    """Where we are root, the server is a user without name, group, capability or way to more."""
    if os.geteuid() != 0:
        return
    told = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    (number,) = {*told["Uid"].split(), *told["Gid"].split()}
    with pytest.raises(KeyError):
        pwd.getpwuid(int(number))
    assert told["Groups"].strip() == ""
    assert {int(told[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")} == {0}
    assert told["NoNewPrivs"] == "1"


def test_a_data_folder_tells_the_server_nothing(tmp_path):
    """As a stranger may have left it, or a database's own superuser."""
    canary = tmp_path / "ran"
    tmp_path.chmod(0o777)
    with EmbeddedPostgres.start(tmp_path / "home"):
        pass
    data = tmp_path / "home" / "postgres" / "data"
    hostile = f"archive_mode = on\narchive_timeout = 1\narchive_command = 'touch {canary}'\n"
    (data / "more.conf").write_text(hostile)
    (data / "postgresql.conf").write_text(f"include '{data / 'more.conf'}'\n")
    (data / "postgresql.auto.conf").write_text(hostile)
    (data / "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")
    for name in ("more.conf", "postgresql.conf", "postgresql.auto.conf", "pg_hba.conf"):
        (data / name).chmod(0o644)
    with EmbeddedPostgres.start(tmp_path / "home") as server:
        assert one(server.url, "SHOW archive_mode") == "off"
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(server.url.partition("?")[0], passfile="/dev/null")
        with closing(psycopg.connect(server.url, autocommit=True)) as own:
            with pytest.raises(psycopg.Error, match="ALTER SYSTEM"):
                own.execute("ALTER SYSTEM SET archive_command = 'true'")
            own.execute("SELECT pg_switch_wal()")
    assert not canary.exists()


def test_a_folder_that_its_server_cannot_pass_to_is_refused(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root's server is another user")
    (tmp_path / "closed").mkdir(mode=0o700)
    with pytest.raises(ServiceUnavailable, match="closed is closed") as caught:
        EmbeddedPostgres.start(tmp_path / "closed" / "home")
    assert "LAKEHOUSE_STATE" in caught.value.remedy


def test_a_database_of_an_old_lake_goes_on_where_it_was_moved_to(tmp_path, monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_STATE", str(tmp_path / "state"))
    lake = tmp_path / "lake"
    with (
        EmbeddedPostgres.start(lake) as server,  # as an earlier release kept it
        closing(psycopg.connect(server.url, autocommit=True)) as own,
    ):
        own.execute("CREATE TABLE t AS SELECT 7 AS n")
    if os.geteuid() == 0:
        for path in (lake / "postgres" / "data").rglob("*"):
            shutil.chown(path, "nobody")
        shutil.chown(lake / "postgres" / "data", "nobody")
    home = move_in(lake)
    with EmbeddedPostgres.start(home_of(lake)) as server:
        _is_bare(server.pid)
        assert one(server.url, "SELECT n FROM t") == 7
    assert (home / "postgres" / "data").is_dir()
    assert not (lake / "postgres").exists()


def test_programs_in_roots_own_folder_are_copied_for_the_server(tmp_path, monkeypatch):
    """As in a project under /root, which no other user may pass through."""
    if os.geteuid() != 0:
        pytest.skip("only root's server is another user")
    package = postgres_files.binaries().parents[1]
    closed, state = tmp_path / "closed", tmp_path / "state"
    for folder in (package, *package.parent.glob(f"{package.name}.libs")):
        shutil.copytree(folder, closed / folder.name)
    closed.chmod(0o700)
    monkeypatch.setenv("LAKEHOUSE_STATE", str(state))
    programs = closed / package.name / "pginstall18" / "bin"
    monkeypatch.setattr(postgres_files, "binaries", lambda: programs)
    (tmp_path / "lake").mkdir()
    with EmbeddedPostgres.start(home_of(tmp_path / "lake")) as server:
        assert psutil.Process(server.pid).exe().startswith(str(state))
        assert one(server.url, "SELECT 1") == 1


def test_nobody_gets_in_without_the_password(postgres):
    folder = Path(postgres.url.partition("passfile=")[2])
    assert folder.stat().st_mode & 0o077 == 0
    bare = f"postgresql://{ROLE}@127.0.0.1:{postgres.port}/postgres"
    for url in (bare, bare.replace(ROLE, "postgres"), bare.replace("@", ":wrong@")):
        with pytest.raises(psycopg.OperationalError, match=r"password|role"):
            psycopg.connect(url, passfile="/dev/null")
    secret = folder.read_text().strip().rpartition(":")[2]
    said = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert secret not in said
    assert secret not in postgres.url
    assert secret not in (folder.parent / "postgres.log").read_text()


def test_a_server_that_outlives_its_starter_is_adopted(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from lakehouse.services.postgres import EmbeddedPostgres as P\n"
        "made = lambda server: (server._files.data / 'postmaster.pid').exists()\n"
        "P._answers = lambda server: made(server) and os.kill(os.getpid(), 9)\n"
        "P.start(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    server = EmbeddedPostgres.start(tmp_path)
    try:
        assert server.adopted
    finally:
        process = psutil.Process(server.pid)
        process.send_signal(signal.SIGINT)
        process.wait(200)


def test_a_start_that_is_killed_leaves_nothing_in_the_way(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from lakehouse.services import postgres\n"
        "Path.rename = lambda path, *_: os.kill(os.getpid(), 9)\n"
        "postgres.EmbeddedPostgres.start(Path(sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "postgres" / "data.part").exists()
    with EmbeddedPostgres.start(tmp_path) as server:
        assert one(server.url, "SELECT 1") == 1


def test_a_server_that_cannot_start_shows_its_log(tmp_path):
    with EmbeddedPostgres.start(tmp_path):
        pass
    (tmp_path / "postgres" / "data" / "PG_VERSION").write_text("3\n")
    with pytest.raises(ServiceUnavailable, match="ended while starting") as caught:
        EmbeddedPostgres.start(tmp_path)
    assert "version 3" in caught.value.remedy


def test_a_password_comes_from_the_environment_or_a_file(postgres, tmp_path):
    passfile = Path(postgres.url.partition("passfile=")[2])
    secret = passfile.read_text().strip().rpartition(":")[2]
    bare = f"postgresql://127.0.0.1:{postgres.port}/postgres"
    orders = Orders("none", bare, "127.0.0.1:9", tmp_path)
    (tmp_path / "password").write_text(f"{secret}\n")
    for given in (
        {"LAKEHOUSE_POSTGRES_PASSWORD": secret},
        {"LAKEHOUSE_POSTGRES_PASSWORD_FILE": str(tmp_path / "password")},
    ):
        settings = orders.settings(LAKEHOUSE_POSTGRES_USER=ROLE, **given)
        connect(settings.postgres).close()
        assert secret not in f"{settings!r} {settings.model_dump()}"
    with pytest.raises(SettingsError, match="cannot be read"):
        connect(orders.settings(LAKEHOUSE_POSTGRES_PASSWORD_FILE="/none").postgres)
    for url in (
        f"postgresql://{ROLE}:{secret}@127.0.0.1/x", f"postgresql://h/x?password={secret}",
    ):  # fmt: skip
        with pytest.raises(SettingsError, match="url holds a password") as caught:
            orders.settings(LAKEHOUSE_POSTGRES_URL=url)
        assert secret not in str(caught.value)


def test_a_role_that_may_not_replicate_is_told_so(postgres, kafka, tmp_path):
    name = f"weak{os.getpid()}"
    with closing(psycopg.connect(postgres.url)) as admin, admin.cursor() as cursor:
        admin.autocommit = True
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'w'")
    url = postgres.url.replace("/postgres?", f"/{name}?")
    orders = Orders(name, url, kafka, tmp_path)
    orders.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))
    bare = f"postgresql://127.0.0.1:{postgres.port}/{name}"
    weak = Orders(name, f"postgresql://{name}:w@127.0.0.1:{postgres.port}/{name}", kafka, tmp_path)
    more = {"LAKEHOUSE_POSTGRES_USER": name, "LAKEHOUSE_POSTGRES_PASSWORD": "w",
            "LAKEHOUSE_POSTGRES_URL": bare}  # fmt: skip
    for words, grant in (
        ("permission denied for", f"GRANT SELECT ON orders TO {name}"),
        (
            "let the table's owner run: CREATE PUBLICATION",
            f"CREATE PUBLICATION {name} FOR TABLE orders",
        ),
        ("ALTER ROLE ... REPLICATION", f"ALTER ROLE {name} REPLICATION"),
    ):
        done = weak.start("--available-now", **more)
        _, said = done.communicate(timeout=200)
        assert done.returncode in {1, 5}, said
        assert words in said
        assert "Traceback" not in said
        orders.sql(grant)
    done = weak.start("--available-now", **more)
    _, said = done.communicate(timeout=200)
    assert done.returncode == 0, said
    assert current(orders.records()) == orders.table()
    orders.sql("SELECT pg_drop_replication_slot(%s)", name)


@pytest.fixture
def secured(tmp_path, monkeypatch):
    """This machine's own Postgres, started with a certificate: the packaged one has no TLS."""
    found = shutil.which("postgres")
    if found is None:
        pytest.skip("no postgres program on PATH")
    make_certificates(tmp_path)
    (tmp_path / "server.key").chmod(0o600)
    os.chown(tmp_path / "server.key", PostgresFiles(tmp_path.resolve() / "postgres").user, -1)
    monkeypatch.delitem(postgres_files.SETTINGS, "allow_alter_system")  # it may be an older one
    monkeypatch.setattr(postgres_files, "binaries", lambda: Path(found).resolve().parent)
    for key, value in (
        ("ssl", "on"), ("ssl_cert_file", tmp_path / "server.pem"),
        ("ssl_key_file", tmp_path / "server.key"),
    ):  # fmt: skip
        monkeypatch.setitem(postgres_files.SETTINGS, key, str(value))
    with EmbeddedPostgres.start(tmp_path) as server:
        yield server, tmp_path


def test_tls_is_as_strict_as_settings_say(secured, postgres, kafka):
    server, folder = secured
    name = f"tls{secrets.token_hex(4)}"
    orders = Orders(name, server.url, kafka, folder / "lake")
    orders.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))

    def settings(**keys):
        return orders.settings(**{f"LAKEHOUSE_POSTGRES_{k.upper()}": v for k, v in keys.items()})

    strict = settings(sslmode="verify-full", sslrootcert=str(folder / "ca.pem"))
    with closing(connect(strict.postgres)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert cursor.fetchone() == (True,)
    stranger = settings(sslmode="verify-full", sslrootcert=str(folder / "stranger.pem"))
    with pytest.raises(ServiceUnavailable, match="certificate verify failed") as caught:
        connect(stranger.postgres)
    assert "sslrootcert" in caught.value.remedy
    plain = Orders(name, postgres.url, kafka, folder).settings(LAKEHOUSE_POSTGRES_SSLMODE="require")
    with pytest.raises(ServiceUnavailable, match="SSL") as caught:
        connect(plain.postgres)
    assert "sslmode" in caught.value.remedy
    more = {"LAKEHOUSE_POSTGRES_SSLMODE": "verify-full",
            "LAKEHOUSE_POSTGRES_SSLROOTCERT": str(folder / "ca.pem")}  # fmt: skip
    for _ in range(2):
        process = orders.start("--available-now", **more)
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
        orders.sql("UPDATE orders SET item = 'over TLS' WHERE order_id = 3")
    process = orders.start("--available-now", **more)
    assert process.communicate(timeout=200)
    assert current(orders.records()) == orders.table()
