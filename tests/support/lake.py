"""A small lake of sales without Spark, and pandas' word on what its silver must be."""

import shutil
from datetime import timedelta
from decimal import Decimal
from functools import cache, cached_property
from pathlib import Path

import duckdb
import pandas as pd
from deltalake import DeltaTable

from lakehouse.core.own import mark
from lakehouse.ingest.landing import BronzePublisher
from lakehouse.ingest.ledger import Ledger
from lakehouse.ingest.topic import Topic
from lakehouse.ingest.writers.arrow import ArrowWriter
from lakehouse.model.flow import SilverFlow
from lakehouse.products.sales.tables import FLOWS
from lakehouse.silver.publisher import SilverPublisher
from tests.conftest import NOW, SALES, decoded
from tests.support.engine import connected

SILVER = next(f for f in FLOWS if isinstance(f, SilverFlow))


@cache
def looking():
    """One engine for all looks of a process: each new one takes a twentieth of a second."""
    return duckdb.connect()


def look(sql):
    """A query's rows, asked of an engine that no flow uses."""
    with looking().cursor() as cursor:
        return cursor.sql(sql).to_arrow_table()


class Lake:
    """Publishers over one root; ``restart`` opens them again, as another process would.

    Silver that is there is opened when it is first asked for: that takes a while.
    """

    def __init__(self, settings):
        self.settings = settings
        self.restart()

    def restart(self, topic_id="t1"):
        if "silver" in vars(self):
            self.silver.settle()  # a process that ended writes no more
        vars(self).pop("silver", None)
        self.connection = connected(self.settings)
        self.bronze = BronzePublisher.open(SALES, self.settings, topic_id, self.connection)
        self.ledger = Ledger.at_bronze("sales", self.settings, self.connection)
        if not Path(self.settings.lake.root, "silver").exists():
            _ = self.silver  # it makes its tables

    def start(self):
        """As ``restart``, and silver opens what it finds."""
        self.restart()
        return self.silver

    @cached_property
    def silver(self):
        return SilverPublisher.open(SILVER, self.settings, self.connection)

    def land(self, values, first, times=None):
        rows = decoded(values, first=first, times=times)
        landed = ArrowWriter(self.bronze).publish(rows, {0: first + len(values)}, NOW)
        self.ledger.take_batch(landed)
        return landed

    def fold(self):
        """Silver takes what has landed, and its tables have all of it."""
        self.silver.catch_up()
        self.silver.persist()

    def persist(self):
        """The same, and the ledger's."""
        self.fold()
        self.ledger.persist()

    def rows(self, table):
        files = DeltaTable(f"{self.settings.lake.root}/{table}").file_uris()
        if not files:
            return pd.DataFrame()
        sql = f"SELECT * FROM read_parquet({files!r}, hive_partitioning=true)"
        return look(sql).to_pandas()


class AtRest(Lake):
    """A lake that nobody has open, until a test first lands or folds."""

    def __init__(self, settings):
        self.settings = settings

    def __getattr__(self, name):
        if name not in {"connection", "bronze", "ledger"}:
            raise AttributeError(name)
        self.restart()
        return getattr(self, name)


def left_alone(root, settings):
    """A copy of another lake's folders, at rest, with its state: as if it had been made here."""
    shutil.copytree(root, settings.lake.root)
    for data in Path(settings.lake.root, "_state").glob("*/data.mdb"):
        mark(data.parent, data.name)
    return AtRest(settings)


def copied(root, settings):
    """The same, and bronze open."""
    lake = left_alone(root, settings)
    lake.restart()
    return lake


def expected(rows):
    """Silver by country and by client, recomputed by pandas from bronze's rows."""
    rows = rows[~rows["is_duplicate"]].assign(
        money=lambda d: [
            Decimal(q) * p for q, p in zip(d["quantity"], d["unit_price"], strict=True)
        ]
    )
    rows["client_id"] = rows["client_id"].fillna("")
    found = {}
    for keys in (["country", "currency"], ["client_id", "currency"], ["segment", "currency"]):
        for key, part in rows.groupby(keys):
            sold = part[part["quantity"] > 0]
            units = sold.groupby("product_id")["quantity"].sum()
            best = sorted((-n, p) for p, n in units.items())
            found[(keys[0], *key)] = (
                len(part),
                part["quantity"].sum(),
                sum(part["money"], Decimal(0)),
                sold["order_id"].nunique(),
                part[part["client_id"] != ""]["client_id"].nunique(),
                best[0][1] if best else None,
            )
    return found


def held(lake):
    """The same numbers, as the silver tables have them."""
    found = {}
    for table, key in (("country", "country"), ("client", "client_id"), ("segment", "segment")):
        for row in lake.rows(f"silver/sales_by_{table}").to_dict("records"):
            favourite = row.get("favourite_product")
            clients = row.get("clients", 0 if row.get("client_id") == "" else 1)
            found[(key, row[key], row["currency"])] = (
                row["lines"], int(row["units"]), row["net_revenue"], row["orders"],
                clients,
                favourite if isinstance(favourite, str) else None,
            )  # fmt: skip
    return found


def assert_silver_is_a_function_of_bronze(lake):
    wanted, found = expected(lake.rows("bronze/sales")), held(lake)
    assert found.keys() == wanted.keys()
    for key, numbers in wanted.items():
        got = found[key]
        assert got[:2] == numbers[:2], key
        assert got[2] == numbers[2], key
        assert got[3:5] == numbers[3:5], key
        if key[0] == "client_id":
            assert got[5] == numbers[5], key


ALWAYS = timedelta(microseconds=1)


def entries(uri):
    """The names of a log's commits, in order."""
    return sorted(path.name for path in Path(uri, "_delta_log").glob("*.json"))


def cut_log(uri):
    """The log begins at its newest version: what came before cannot be told."""
    table = DeltaTable(uri)
    table.create_checkpoint()
    for entry in Path(uri, "_delta_log").glob("*.json"):
        if int(entry.stem) < table.version():
            entry.unlink()


def warned(logs):
    return [e for e in logs if e["log_level"] == "warning" and "rebuilt" in e["event"]]


def recreated(lake, values):
    """The flow meets topic t2, and lands what it has."""
    lake.restart(topic_id=None)
    lake.bronze.position.refuse(
        lake.bronze.position.reconcile_topic(Topic("sales", "t2", {0: (0, len(values))}))
    )
    lake.land(values, 0)
    lake.persist()
