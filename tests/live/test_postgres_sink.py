"""Silver's tables in a real Postgres: what changed is sent, once, whatever befalls either side."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import psycopg
import pytest
from structlog.testing import capture_logs

from lakehouse.audit.pins import Snapshots, engine
from lakehouse.audit.postgres_sink import compare_postgres
from lakehouse.core.errors import LakehouseError, ServiceAway, TableLocked
from lakehouse.core.progress import told_to
from lakehouse.model.sink import PostgresSink
from lakehouse.runtime.sinking import sinking
from lakehouse.services.postgres import EmbeddedPostgres
from lakehouse.sinks import postgres_session
from lakehouse.sinks.postgres import PostgresWriter
from lakehouse.sinks.postgres_tables import RECORD_DDL
from tests.conftest import SALES, encode, sale, settings_at
from tests.live.conftest import open_folder
from tests.support.engine import connected
from tests.support.lake import Lake
from tests.support.sinks import BY_CLIENT, BY_COUNTRY, POSTGRES

pytestmark = pytest.mark.live
ODD = 'a "quoted", \\back\\slashed\n two-line Ωmega ␀ and \x00 client'


@pytest.fixture
def lake(settings, database):
    """A lake of sales whose sink writes into it."""
    return Lake(settings.with_postgres(database))


def land(lake, *events):
    first = getattr(lake, "next", 0)
    lake.next = first + len(events)
    lake.land(encode(*events), first)
    lake.fold()


def some(first, count, **changes):
    return [
        sale(event_id=f"e{n}", order_id=f"o{n}", client_id=f"c{n}", **changes)
        for n in range(first, first + count)
    ]


def writer(lake):
    return PostgresWriter(POSTGRES, lake.settings, connected(lake.settings))


def ask(lake, sql):
    with psycopg.connect(lake.settings.postgres.url, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        done = connection.execute(sql)
        return done.fetchall() if done.description else done.rowcount


def assert_equal(lake, odd=None):
    """Both tables hold what silver's do, in every column that they have."""
    for table in (BY_COUNTRY, BY_CLIENT):
        columns = [
            n for (n,) in ask(
                lake, "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped "
                f"AND attrelid = '{table.name}'::regclass",
            )
        ]  # fmt: skip
        held = ask(lake, f"SELECT {', '.join(columns)} FROM {table.name}")
        silver = lake.rows(table.source.replace(".", "/")).astype(object)
        silver = silver.where(silver.notna(), None)[columns]
        wanted = [tuple(row) for row in silver.itertuples(index=False)]
        wanted = [tuple((odd or {}).get(v, v) for v in row) for row in wanted]
        assert sorted(map(str, map(_plain, held))) == sorted(map(str, map(_plain, wanted)))


def audited(lake, settings=None, sink=POSTGRES):
    with engine(lake.settings) as connection:
        snapshots = Snapshots(lake.settings.lake.root, connection)
        bronze = snapshots.pin("bronze", "bronze.sales")
        return compare_postgres(snapshots, sink, settings or lake.settings, bronze)


def _plain(row):
    return [v.isoformat() if hasattr(v, "isoformat") else v for v in row]


def test_only_what_changed_is_sent_and_each_row_is_silvers(lake):
    sink = writer(lake)
    land(lake, *some(0, 50), *some(50, 30, country="France", quantity=-1))
    land(lake, sale(event_id="odd", client_id=ODD), sale(event_id="long", client_id="é" * 3_000))
    sink.catch_up()
    clients = dict(ask(lake, "SELECT client_id, xmin::text FROM by_client"))
    named = {ODD: ODD.replace("␀", "␀␀").replace("\x00", "␀0")}
    (long,) = [name for name in clients if name.startswith("éé")]
    assert len(long.encode()) < 2_400
    assert_equal(lake, {**named, "é" * 3_000: long})
    more = [sale(event_id=f"m{n}", client_id=f"c{n}", quantity=9) for n in range(3)]
    land(lake, *more)
    sink.catch_up()
    sink.catch_up()
    assert_equal(lake, {**named, "é" * 3_000: long})
    again = dict(ask(lake, "SELECT client_id, xmin::text FROM by_client"))
    touched = {name for name, transaction in again.items() if clients[name] != transaction}
    assert touched == {"c0", "c1", "c2"}
    key = "SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute JOIN pg_index i " \
        "ON attrelid = indrelid AND attnum = ANY(indkey) WHERE indisprimary AND indrelid = %s" \
        "::regclass"  # fmt: skip
    assert ask(lake, key % "'by_client'") == [(["client_id", "currency"],)]
    assert ("by_country_net_revenue",) in ask(lake, "SELECT indexname::text FROM pg_indexes")
    sink.close()

    # what is done by hand
    ask(lake, "DELETE FROM by_client")
    writer(lake).catch_up()  # wiped: noticed at the next start
    assert_equal(lake, {**named, "é" * 3_000: long})
    ask(lake, "DROP TABLE by_country")
    writer(lake).catch_up()
    ask(lake, "UPDATE by_client SET lines = 77 WHERE client_id = 'c1'; "
        "INSERT INTO by_client SELECT * FROM (SELECT * FROM by_client LIMIT 0) AS none; "
        "DELETE FROM by_client WHERE client_id = 'c4'")  # fmt: skip
    seen = []
    sink = writer(lake)
    country, client = audited(lake)
    assert (country.differing, country.doubt, country.behind) == (0, "", 0)
    assert (client.differing, client.rows, client.recomputed) == (2, 81, 82)
    assert {(d["key"]["client_id"], d["column"], d["held"]) for d in client.first} == {
        ("c1", "lines", 77), ("c4", "(rows lacking)", 0),
    }  # fmt: skip
    with told_to(lambda what, done, of, _: seen.append((what, done, of))):
        sink.refill("by_client")
    assert_equal(lake, {**named, "é" * 3_000: long})
    assert seen[-2:] == [("filling by_client", 82, 82), ("comparing by_client in Postgres", 0, 0)]
    land(lake, *some(200, 1))
    assert [(c.differing, c.doubt, c.behind) for c in audited(lake)] == [(0, "", 1)] * 2
    away = lake.settings.with_postgres("postgresql://127.0.0.1:9/none")
    assert all("Postgres at 127.0.0.1:9/none" in c.doubt for c in audited(lake, away))
    sink.close()


def test_one_writer_and_no_other_lakes_tables(lake, tmp_path):
    land(lake, *some(0, 5))
    first, second = writer(lake), writer(lake)
    first.catch_up()
    with pytest.raises(TableLocked, match="another writer has its tables: the server's process"):
        second.catch_up()
    first.close()
    second.catch_up()
    second.close()
    other = Lake(settings_at(tmp_path / "other").with_postgres(lake.settings.postgres.url))
    land(other, *some(0, 7))
    with pytest.raises(LakehouseError, match=r"filled from another lake(.|\n)*sink refill sales"):
        writer(other).catch_up()
    ask(lake, "DELETE FROM lakehouse_sink")
    with pytest.raises(LakehouseError, match="has rows, and no record"):
        writer(lake).catch_up()
    writer(other).refill()
    assert_equal(other)
    # a writer that a person's hand, or one who knows no lock, has overtaken ends with a clear error
    sink = writer(other)
    sink.catch_up()
    land(other, *some(7, 1))
    ask(lake, "UPDATE lakehouse_sink SET silver_version = 0")
    sink._sent.clear()
    sink.catch_up()
    assert_equal(other)
    sink.close()


def test_a_database_that_is_away_is_waited_for_and_others_go_on(settings):
    with open_folder() as folder:
        server = EmbeddedPostgres.start(folder)
        lake = Lake(settings.with_postgres(server.url))
        land(lake, *some(0, 5))
        stop = threading.Event()
        with sinking([POSTGRES], lake.settings, stop) as beside:
            until(lambda: ask(lake, "SELECT count(*) FROM by_client") == [(5,)])
            os.kill(server.pid, signal.SIGKILL)
            land(lake, *some(5, 5))
            land(lake, *some(10, 5))
            time.sleep(1)
            beside.check()  # it waits, and nothing else hears of it
            with pytest.raises(ServiceAway):
                writer(lake).catch_up()
            server.stop()
            server = EmbeddedPostgres.start(folder)
            until(lambda: ask(lake, "SELECT count(*) FROM by_client") == [(15,)])
            assert_equal(lake)
            land(lake, *some(15, 5))
            beside.finish(must=True)
            assert_equal(lake)
        server.stop()


def test_rows_that_a_trigger_drops_are_no_rows_that_were_sent(lake):
    land(lake, *some(0, 5))
    sink = writer(lake)
    sink.catch_up()
    ask(
        lake,
        """
        CREATE FUNCTION drops() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RETURN CASE WHEN NEW.client_id = 'c7' THEN NULL ELSE NEW END; END $$;
        CREATE TRIGGER drops BEFORE INSERT ON by_client FOR EACH ROW EXECUTE FUNCTION drops();
    """,
    )
    land(lake, *some(5, 4))
    with pytest.raises(LakehouseError, match="took 3 of 4 rows"):
        sink.catch_up()
    with pytest.raises(LakehouseError, match="table by_client: took 8 of 9 rows"):
        sink.refill()
    ask(lake, "DROP TRIGGER drops ON by_client")
    sink.catch_up()
    assert_equal(lake)
    sink.close()


EMPTIED = {
    "emptied": "TRUNCATE by_client",
    "replaced": "ALTER TABLE by_client RENAME TO theirs; "
    "CREATE TABLE by_client (LIKE theirs INCLUDING ALL)",
}


@pytest.mark.parametrize("how", EMPTIED)
def test_a_table_that_is_emptied_or_replaced_while_the_sink_runs_is_filled_again(lake, how):
    land(lake, *some(0, 5))
    with closing(writer(lake)) as sink:
        sink.catch_up()
        ask(lake, EMPTIED[how])
        land(lake, *some(5, 2))
        sink.catch_up()
        assert_equal(lake)


def test_a_view_is_no_table_and_its_rows_are_audited(lake):
    land(lake, *some(0, 5))
    writer(lake).catch_up()
    ask(lake, "ALTER TABLE by_client RENAME TO theirs; "
        "CREATE VIEW by_client AS SELECT * FROM theirs WHERE client_id <> 'c1'")  # fmt: skip
    assert [(one.differing, one.doubt) for one in audited(lake)] == [(0, ""), (1, "")]
    with pytest.raises(LakehouseError, match=r"table by_client: is a view(.|\n)*another name"):
        writer(lake).catch_up()


def test_the_rows_of_a_table_s_children_are_audited_as_its_readers_see_them(lake):
    land(lake, *some(0, 5))
    writer(lake).catch_up()
    ask(lake, "CREATE TABLE child () INHERITS (by_client)")
    assert [one.differing for one in audited(lake)] == [0, 0]
    ask(lake, "INSERT INTO child SELECT * FROM by_client LIMIT 1")
    assert [one.differing for one in audited(lake)] == [0, 1]


def test_tables_that_another_makes_at_the_same_moment_are_there(lake):
    """Sinks of several products share the table that says what they hold."""
    land(lake, *some(0, 5))
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() " \
        "AND wait_event_type = 'Lock'"  # fmt: skip
    with ThreadPoolExecutor(1) as pool, psycopg.connect(lake.settings.postgres.url) as other:
        other.execute(RECORD_DDL.encode())
        sink = writer(lake)
        filled = pool.submit(sink.catch_up)
        until(lambda: ask(lake, waits) == [(1,)])
        other.commit()
        filled.result()
    assert_equal(lake)
    sink.close()


def test_a_row_of_megabytes_is_audited(lake):
    sink = PostgresSink(SALES, (replace(BY_CLIENT, indexes=()),))
    land(lake, *some(0, 2, product_id="p" * 2_000_000))
    PostgresWriter(sink, lake.settings, connected(lake.settings)).catch_up()
    assert [(one.differing, one.doubt, one.rows) for one in audited(lake, sink=sink)] == [
        (0, "", 2)
    ]


def test_a_database_that_lacks_characters_is_refused_before_a_row_has_them(lake, postgres):
    name = f"latin{os.getpid()}"
    with closing(psycopg.connect(postgres.url, autocommit=True)) as server:
        server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        lake.settings = lake.settings.with_postgres(postgres.url.replace("/postgres?", f"/{name}?"))
        land(lake, *some(0, 2))
        with pytest.raises(LakehouseError, match=r"encoding is LATIN1(.|\n)*ENCODING 'UTF8'"):
            writer(lake).catch_up()
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_what_a_database_sets_for_its_text_changes_nothing(lake):
    land(lake, *some(0, 5))
    writer(lake).catch_up()
    name = lake.settings.postgres.url.partition("?")[0].rpartition("/")[2]
    for one in ("quote_all_identifiers = on", "bytea_output = escape", "lock_timeout = 1"):
        ask(lake, f"ALTER DATABASE {name} SET {one}")
    land(lake, *some(5, 2))
    writer(lake).catch_up()
    assert_equal(lake)


def test_a_table_that_is_locked_is_told_of_and_a_stop_does_not_wait_for_it(lake, monkeypatch):
    monkeypatch.setattr(postgres_session, "_UNLOCKED", "SET lock_timeout = '300ms'")
    land(lake, *some(0, 5))
    with (
        sinking([POSTGRES], lake.settings, threading.Event()) as beside,
        psycopg.connect(lake.settings.postgres.url) as holder,
        capture_logs() as logs,
    ):
        until(lambda: ask(lake, "SELECT count(*) FROM by_client") == [(5,)])
        holder.execute("LOCK TABLE by_client IN ACCESS EXCLUSIVE MODE")
        land(lake, *some(5, 5))
        told = f"locked by processes of the server: {holder.info.backend_pid}"
        until(lambda: any(told in str(entry.get("reason")) for entry in logs))
        beside.finish(must=False)
        assert any(entry["event"] == "left behind" for entry in logs)
    writer(lake).catch_up()
    assert_equal(lake)


def until(holds):
    deadline = time.monotonic() + 240
    while True:
        try:
            if holds():
                return
        except psycopg.Error:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.1)
