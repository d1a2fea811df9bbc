"""A server put back, a publication or a table altered and altered back: refused, never skipped."""

from __future__ import annotations

import json
import shutil
from contextlib import closing, contextmanager

import msgspec
import psycopg
import pytest

from lakehouse.services.postgres import EmbeddedPostgres
from producers.cdc.own_row import OwnRow
from producers.cdc.state import read_state, write_state
from producers.cdc.table import CannotCapture, describe
from tests.conftest import long
from tests.live.conftest import open_folder
from tests.live.orders_table import INSERT, MODES, ROOT, Orders, current

pytestmark = pytest.mark.live


@contextmanager
def server_of_its_own(kafka, name):
    """Orders on a server that can be put back, and the functions that stop and start it."""
    with open_folder() as folder:
        server = [EmbeddedPostgres.start(folder)]
        orders = Orders(name, server[0].url, kafka, folder / "lake")
        orders.sql((ROOT / "db" / "orders.sql").read_text("utf-8"))
        data = folder / "postgres" / "data"

        def keep():
            server[0].stop()
            shutil.copytree(data, folder / "image")
            again()

        def put_back():
            server[0].stop()
            shutil.rmtree(data)
            shutil.copytree(folder / "image", data)
            owner = (folder / "postgres").stat()
            for path in [data, *data.rglob("*")]:
                shutil.chown(path, owner.st_uid, owner.st_gid)
            again()

        def again():
            server[0] = EmbeddedPostgres.start(folder)
            orders.url = server[0].url

        try:
            yield orders, keep, put_back
        finally:
            server[0].stop()


def write(orders, times):
    for number in range(times):
        orders.sql(INSERT + f"('w{number}', 'b', 'c', 1)")


@pytest.mark.parametrize(
    ("mode", "more"), [("slot", 3), ("poll", 90), *long(("slot", 90), ("poll", 3))]
)
def test_a_server_put_back_to_an_earlier_image_is_refused(kafka, tmp_path, mode, more):
    """With 3 commits its log is still behind what was captured, with 90 it is past it."""
    with server_of_its_own(kafka, f"image{mode}{more}") as (orders, keep, put_back):
        orders.capture(mode)
        keep()
        write(orders, 30)
        assert orders.capture(mode).sent == 30
        put_back()
        write(orders, more)
        with pytest.raises(CannotCapture, match="earlier image") as caught:
            orders.capture(mode)
        assert "--anew" in caught.value.remedy
        orders.capture(mode, anew=True)
        assert current(orders.records()) == orders.table()


def test_poll_keeps_a_row_where_the_role_may_and_goes_on_where_not(orders):
    """A row that came after the state is no harm: a crash was between the two."""
    role = f"{orders.name}_reader"
    with closing(orders.connect()) as connection:
        table = describe(connection, "public.orders")
        connection.execute(f"CREATE ROLE {role}; SET ROLE {role}")
        none = OwnRow(connection, table)
        assert (none.is_kept, none.renewed("")) == (False, "")
        connection.execute(f"RESET ROLE; DROP ROLE {role}")
    orders.capture("poll")
    path = orders.root / "capture" / "orders.json"
    state = read_state(path)
    assert state.marker
    with closing(orders.connect()) as connection:
        OwnRow(connection, table).renewed(state.marker)
    assert orders.capture("poll").sent == 0
    assert read_state(path).marker != state.marker


@MODES
def test_a_database_rebuilt_from_a_template_is_refused(orders, postgres, mode):
    orders.capture(mode)
    other = f"{orders.name}_copy"
    orders.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
               "WHERE database = current_database()")  # fmt: skip
    with closing(psycopg.connect(postgres.url)) as admin:
        admin.autocommit = True
        admin.execute(f"CREATE DATABASE {other} TEMPLATE {orders.name}")
        admin.execute(f"DROP DATABASE {orders.name} WITH (FORCE)")
        admin.execute(f"ALTER DATABASE {other} RENAME TO {orders.name}")
    write(orders, 3)
    with pytest.raises(CannotCapture, match="is another database of that name"):
        orders.capture(mode)


def test_another_timeline_is_refused(orders):
    orders.capture()
    path = orders.root / "capture" / "orders.json"
    write_state(path, msgspec.structs.replace(read_state(path), timeline=7))
    with pytest.raises(CannotCapture, match="is on timeline 1, and was on 7"):
        orders.capture()


@MODES
def test_a_state_of_an_older_program_opens_and_goes_on(orders, mode):
    orders.capture(mode)
    path = orders.root / "capture" / "orders.json"
    state = json.loads(path.read_text())
    for name in ("marker", "database_oid", "timeline", "lsn", "slot", "ends", "witness"):
        del state[name]
    path.write_text(json.dumps(state))
    write(orders, 3)
    assert orders.capture(mode).sent == 3
    assert read_state(path).witness
    assert read_state(path).database_oid
    write(orders, 3)
    assert orders.capture(mode).sent == 3


PUBLICATION = {
    "kinds": "ALTER PUBLICATION {p} SET (publish = 'insert')",
    "kinds and back": "ALTER PUBLICATION {p} SET (publish = 'insert'); {lost};"
    "ALTER PUBLICATION {p} SET (publish = 'insert, update, delete, truncate')",
    "remade": "DROP PUBLICATION {p}; {lost}; CREATE PUBLICATION {p} FOR TABLE orders",
    "taken out and put back": "ALTER PUBLICATION {p} DROP TABLE orders; {lost};"
    "ALTER PUBLICATION {p} ADD TABLE orders",
    "a filter": "ALTER PUBLICATION {p} SET TABLE orders WHERE (order_id > 5)",
    "a filter and back": "ALTER PUBLICATION {p} SET TABLE orders WHERE (order_id > 5); {lost};"
    "ALTER PUBLICATION {p} SET TABLE orders",
    "a list and back": "ALTER PUBLICATION {p} SET TABLE orders (order_id, item);"
    "INSERT INTO orders (item) VALUES ('half of it'); ALTER PUBLICATION {p} SET TABLE orders",
    "in one transaction": "BEGIN; ALTER PUBLICATION {p} DROP TABLE orders;"
    "ALTER PUBLICATION {p} ADD TABLE orders; COMMIT",
}


def while_it_runs(orders, statements):
    with orders.following() as done:
        orders.until(lambda now: len(now) == 10)
        for statement in statements:
            orders.sql(statement)
        for _ in range(100):
            write(orders, 1)
            if done:
                break


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("how", PUBLICATION)
@pytest.mark.parametrize("runs", [False, True], ids=["rests", "runs"])
def test_a_publication_that_was_changed_is_refused(orders, how, runs):
    """Changed for good, or undone between two looks, while the capture rests and while it runs."""
    lost = "UPDATE orders SET item = 'lost' WHERE order_id < 4"
    statements = PUBLICATION[how].format(p=orders.name, lost=lost).split(";")
    if "BEGIN" in statements[0]:
        statements = [PUBLICATION[how].format(p=orders.name, lost=lost)]
    orders.capture()
    if not runs:
        for statement in statements:
            orders.sql(statement)
        with pytest.raises(CannotCapture, match="publication"):
            orders.capture()
    else:
        with pytest.raises(AssertionError, match="publication"):
            while_it_runs(orders, statements)
    with pytest.raises(CannotCapture, match="publication"):
        orders.capture()
    orders.sql(f"DROP PUBLICATION IF EXISTS {orders.name}")
    orders.capture(anew=True)
    assert current(orders.records()) == orders.table()


def test_what_does_not_touch_the_table_in_its_publication_is_let_pass(orders):
    orders.capture()
    orders.sql("CREATE TABLE other (id int PRIMARY KEY)")
    orders.sql(f"ALTER PUBLICATION {orders.name} ADD TABLE other")
    orders.sql("VACUUM FULL orders")
    orders.sql("VACUUM FREEZE pg_publication")
    write(orders, 2)
    assert orders.capture().sent == 2
    orders.sql("ALTER TABLE orders ALTER COLUMN item SET STATISTICS 50")
    write(orders, 2)
    assert orders.capture().sent == 2


@MODES
def test_a_table_rewritten_with_other_values_is_refused(orders, mode):
    orders.capture(mode)
    orders.sql("ALTER TABLE orders ALTER COLUMN amount TYPE numeric USING amount * 2")
    with pytest.raises(CannotCapture, match="was rewritten"):
        orders.capture(mode)
    orders.capture(mode, anew=True)
    assert current(orders.records()) == orders.table()


STAMP = {
    "disabled for a while": "ALTER TABLE orders DISABLE TRIGGER orders_stamp; {lost};"
    "ALTER TABLE orders ENABLE ALWAYS TRIGGER orders_stamp",
    "in one transaction": "BEGIN; ALTER TABLE orders DISABLE TRIGGER orders_stamp; {lost};"
    "ALTER TABLE orders ENABLE ALWAYS TRIGGER orders_stamp; COMMIT",
    "recreated": "DROP TRIGGER orders_stamp ON orders; {lost};"
    "CREATE TRIGGER orders_stamp BEFORE INSERT OR UPDATE ON orders FOR EACH ROW "
    "EXECUTE FUNCTION orders_stamp(); ALTER TABLE orders ENABLE ALWAYS TRIGGER orders_stamp",
}


@pytest.mark.parametrize("how", STAMP)
def test_a_stamp_that_did_not_fire_is_refused(orders, how):
    orders.capture("poll")
    orders.sql(STAMP[how].format(lost="UPDATE orders SET item = 'lost' WHERE order_id < 4"))
    with pytest.raises(CannotCapture, match="was changed, disabled or recreated"):
        orders.capture("poll")
    orders.capture("poll", anew=True)
    assert current(orders.records()) == orders.table()


def test_the_stamp_s_remedy_is_followed_by_a_new_snapshot(orders):
    orders.capture("poll")
    orders.sql("ALTER TABLE orders DROP COLUMN change_xid")
    with pytest.raises(CannotCapture, match="a trigger keeps") as caught:
        orders.capture("poll")
    assert "--anew" in caught.value.remedy
    orders.sql(caught.value.remedy.partition(":\n")[2])
    with pytest.raises(CannotCapture, match="recreated since the last look"):
        orders.capture("poll")


def test_another_trigger_is_not_taken_for_the_stamp(orders):
    orders.sql("DROP TRIGGER orders_stamp ON orders")
    orders.sql("CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS "
               "$$ BEGIN RETURN NEW; END $$")  # fmt: skip
    orders.sql("CREATE TRIGGER other BEFORE INSERT OR UPDATE ON orders FOR EACH ROW "
               "EXECUTE FUNCTION other()")  # fmt: skip
    with pytest.raises(CannotCapture, match="a trigger keeps"):
        orders.capture("poll")


def test_writers_that_replicate_are_stamped_too(orders):
    orders.capture("poll")
    orders.sql("SET session_replication_role = replica; "
               "UPDATE orders SET item = 'applied' WHERE order_id = 3")  # fmt: skip
    assert orders.capture("poll").sent == 1
    assert current(orders.records()) == orders.table()
