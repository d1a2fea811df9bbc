"""Others take a sink's rights, or alter its tables: it waits, says what it lacks, goes on."""

import threading
from contextlib import closing

import psycopg
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.postgres_sink import compare_postgres
from lakehouse.core.errors import LakehouseError, ServiceUnavailable
from lakehouse.runtime.sinking import sinking
from lakehouse.settings.postgres_client import connect
from lakehouse.sinks.postgres import PostgresWriter
from tests.conftest import encode, sale
from tests.support.engine import connected
from tests.support.lake import Lake
from tests.support.scored import until
from tests.support.sinks import POSTGRES

pytestmark = pytest.mark.live
TAKEN = {
    "INSERT": ("REVOKE INSERT ON by_client FROM {role}", "GRANT INSERT ON by_client TO {role}"),
    "SELECT": ("REVOKE SELECT ON by_client FROM {role}", "GRANT SELECT ON by_client TO {role}"),
    "all rows": (
        "ALTER TABLE by_client ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "ALTER TABLE by_client DISABLE ROW LEVEL SECURITY",
    ),
    "writing": (
        "ALTER ROLE {role} SET default_transaction_read_only = on; {end}",
        "ALTER ROLE {role} RESET default_transaction_read_only; {end}",
    ),
    "the password": (
        "ALTER ROLE {role} PASSWORD 'other'; {end}", "ALTER ROLE {role} PASSWORD 'w'",
    ),
    "its key": (
        "ALTER TABLE by_client DROP CONSTRAINT by_client_pkey; {end}",
        "ALTER TABLE by_client ADD PRIMARY KEY (client_id, currency)",
    ),
    "its columns": (
        "ALTER TABLE by_client ADD mine int NOT NULL DEFAULT 1; "
        "ALTER TABLE by_client ALTER mine DROP DEFAULT",
        "ALTER TABLE by_client DROP mine",
    ),
}  # fmt: skip
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"


class Weak:
    """A lake whose sink has a role of its own, and who gives it its rights."""

    def __init__(self, settings, database):
        self.url, self.owners = database, settings.with_postgres(database)
        name = database.partition("?")[0].rpartition("/")[2]
        self.role, self.next = f"weak_{name}", 0
        server = database.partition("?")[0].rpartition("@")[2]
        given = {
            "url": f"postgresql://{server}", "user": self.role, "password": SecretStr("w"),
        }  # fmt: skip
        self.lake = Lake(settings.changed(postgres=given))
        self.admin(f"CREATE ROLE {self.role} LOGIN PASSWORD 'w'")

    def admin(self, sql):
        with psycopg.connect(self.url, autocommit=True) as connection:
            end = END.format(role=self.role)
            done = connection.execute(sql.format(role=self.role, end=end))
            return done.fetchall() if done.description else []

    def land(self, count=3):
        self.lake.land(
            encode(*(sale(event_id=f"e{n}", client_id=f"c{n}")
                     for n in range(self.next, self.next + count))),
            self.next,
        )  # fmt: skip
        self.next += count
        self.lake.fold()

    def writer(self, settings=None):
        return PostgresWriter(
            POSTGRES, settings or self.lake.settings, connected(self.lake.settings)
        )

    def audited(self):
        with engine(self.lake.settings) as connection:
            snapshots = Snapshots(self.lake.settings.lake.root, connection)
            bronze = snapshots.pin("bronze", "bronze.sales")
            found = compare_postgres(snapshots, POSTGRES, self.lake.settings, bronze)
        return [(one.differing, one.fault, one.doubt, one.behind) for one in found]


@pytest.fixture
def weak(settings, database):
    made = Weak(settings, database)
    yield made
    made.admin("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


EQUAL = [(0, "", "", 0)] * 2


def test_who_may_not_make_tables_fills_those_that_an_administrator_made(weak):
    weak.land()
    with pytest.raises(LakehouseError, match=r"permission denied for schema(.|\n)*CREATE on the"):
        weak.writer().catch_up()
    with closing(weak.writer(weak.owners)) as first:
        first.catch_up()
    weak.admin(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}; "
        "GRANT CREATE ON SCHEMA public TO {role}"
    )
    weak.land()
    with closing(weak.writer()) as sink:
        sink.catch_up()
    weak.admin("REVOKE CREATE ON SCHEMA public FROM {role}")
    weak.land()
    with closing(weak.writer()) as sink:
        sink.catch_up()
    assert weak.audited() == EQUAL
    key = "by_client_pkey PRIMARY KEY (currency) INCLUDE (client_id)"
    weak.admin(f"ALTER TABLE by_client DROP CONSTRAINT by_client_pkey; DELETE FROM by_client; "
               f"ALTER TABLE by_client ADD CONSTRAINT {key}")  # fmt: skip
    with pytest.raises(ServiceUnavailable, match=r"table by_client: has no primary key \("):
        weak.writer().refill("by_client")


def test_what_is_taken_away_is_waited_for_and_flows_go_on(weak):
    weak.admin("GRANT CREATE ON SCHEMA public TO {role}")
    weak.land()
    with sinking([POSTGRES], weak.lake.settings, threading.Event()) as beside:
        until(lambda: weak.audited() == EQUAL)
        for what, (take, give) in TAKEN.items():
            with capture_logs() as logs:
                weak.admin(take)
                weak.land()
                until(lambda: [one for one in logs if one["event"] == "waiting"], 30)
            beside.check()
            assert weak.audited() != EQUAL, what
            weak.admin(give)
            until(lambda: weak.audited() == EQUAL, 60)
        beside.finish(must=True)


def test_what_the_url_asks_for_holds_and_what_the_role_limits_does_not(weak):
    limits = ("statement_timeout", "idle_session_timeout", "transaction_timeout")
    weak.admin("CREATE SCHEMA own AUTHORIZATION {role}")
    for name in limits:
        weak.admin(f"ALTER ROLE {{role}} SET {name} = '1min'")
    url = f"{weak.lake.settings.postgres.url}?options=-csearch_path%3Down"
    settings = weak.lake.settings.with_postgres(url)
    weak.land()
    with closing(weak.writer(settings)) as sink:
        sink.catch_up()
    assert weak.admin("SELECT count(*) FROM own.by_client") == [(3,)]
    with closing(connect(settings.postgres)) as connection:
        assert [connection.execute(f"SHOW {name}").fetchall() for name in limits] == [[("0",)]] * 3
