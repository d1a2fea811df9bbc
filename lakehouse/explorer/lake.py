"""A lake for Python: its tables and what SQL gives, as Arrow, pandas, Polars or DuckDB.

Reads only, and needs no JVM. A question is asked as ``lakehouse sql`` asks it, within the limits
of [explorer] in config.ini.
"""

from __future__ import annotations

import weakref
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from lakehouse.core.errors import ServiceUnavailable, TableMissing
from lakehouse.core.sql import identifier
from lakehouse.core.text import of_tables
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.past import Past
from lakehouse.explorer.report import views
from lakehouse.explorer.session import Session
from lakehouse.explorer.table_info import TableInfo
from lakehouse.products.registry import load_settings

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


class Rows:
    """The rows of a table or a SELECT, read when they are asked for, each time again.

    Raises what :meth:`Lake.sql` says.
    """

    def __init__(self, session: Session, statement: str, limit: int | None = None) -> None:
        self._session, self._statement, self._limit = session, statement, limit

    def head(self, rows: int = 10) -> Rows:
        """The first rows alone."""
        return Rows(self._session, self._statement, rows)

    def arrow(self) -> pa.Table:
        """An Arrow table: money is Decimal, times are UTC in microseconds."""
        return self._session.ask(self._statement, self._limit).rows

    def pandas(self) -> pd.DataFrame:
        """A data frame of pandas: money stays exact, a column of ``Decimal`` objects."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def polars(self) -> pl.DataFrame:
        """A data frame of Polars; ServiceUnavailable where it is not installed."""
        try:
            import polars  # noqa: PLC0415  # nobody else needs it
        except ModuleNotFoundError:
            raise ServiceUnavailable("polars", "is not installed", "pip install polars") from None
        return polars.DataFrame(self.arrow())

    def duckdb(self) -> duckdb.DuckDBPyRelation:
        """A relation of DuckDB's default connection, to go on with: ``.filter(…).df()``."""
        import duckdb  # noqa: PLC0415  # the method has its name

        return duckdb.from_arrow(self.arrow())

    def __len__(self) -> int:
        """How many rows there are."""
        counted = self._session.ask(f"SELECT count(*) AS n FROM ({self._statement})")
        return int(counted.rows["n"][0].as_py())

    def __repr__(self) -> str:
        return f"<rows of: {self._statement}>"


class Lake:
    """A lake that was opened for reading, now or as it was at a moment.

    >>> lake = lakehouse.open("var/demo")
    >>> lake["silver.shop_by_country"].pandas()
    >>> lake.sql("SELECT country FROM silver.shop_by_country").polars()
    >>> lake.at(version=3)["silver.shop_by_country"].arrow()
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        weakref.finalize(self, session.close)

    @property
    def root(self) -> str:
        """Its folder."""
        return self._session.catalogue.lake.root

    @property
    def tables(self) -> list[str]:
        """Every table there is: ``silver.shop_by_country``."""
        return self._session.catalogue.names()

    @property
    def views(self) -> list[str]:
        """What else statements may name: the views of which the lake has the tables."""
        return sorted(self._session.usable())

    def __getitem__(self, name: str) -> Rows:
        """All rows of a table or a view; TableMissing where there is none of that name."""
        if name in self._session.views:
            return Rows(self._session, f"FROM {name}")
        if name not in self.tables:
            raise TableMissing(
                f"table {name}", "is not in the lake",
                of_tables(name, [*self.tables, *self.views], "name another lake"),
            )  # fmt: skip
        layer, _, table = name.partition(".")
        return Rows(self._session, f"FROM {layer}.{identifier(table)}")

    def sql(self, statement: str) -> Rows:
        """The rows of one SELECT over tables and views.

        Where they are read: SqlRejected for what is no read or does not run, QueryTimedOut after
        [explorer] timeout, TableMissing and TableDamaged.
        """
        return Rows(self._session, statement)

    def info(self, name: str) -> TableInfo:
        """Rows, files, bytes, version and times of a table."""
        return self._session.catalogue.info(name)

    def history(self, name: str, limit: int = 100) -> list[dict[str, Any]]:
        """The newest commits of a table: version, time, operation, rows and metadata."""
        return self._session.catalogue.history(name, limit)

    def at(self, version: int | None = None, time: datetime | None = None) -> Lake:
        """The lake at a version of its tables, or as of a time; with neither, at the newest.

        Silver whose files of then are gone is folded from bronze, which may take a while.
        """
        here = self._session
        return Lake(Session(here.catalogue.back_to(version, time), here.settings, here.views))

    def __repr__(self) -> str:
        return f"<lake {self.root}: {len(self.tables)} tables>"


def opened(root: str | Path | None, config: str | Path | None) -> Lake:
    """See :func:`lakehouse.open`."""
    settings = load_settings(Path(config) if config else None)
    settings = settings.with_root(Path(root)) if root else settings
    past = Past(settings, lambda _: None)
    catalogue = Catalogue(settings.lake.root, past=past.open)
    catalogue.require()
    return Lake(Session(catalogue, settings.explorer, views(None, settings)))
