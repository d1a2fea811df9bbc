"""A streaming medallion lakehouse that proves its own numbers. The map of the house:

core/         ground: errors, paths, locks, signals, logging, failpoints
model/        what is declared, frozen and pure: contracts, flows, aggregates
settings/     config.ini and the environment; how Kafka and Postgres are reached by them
storage/      a Delta table: commits and their metadata, fingerprints, health, increments
ingest/       records → typed rows or verdicts → bronze and quarantine; writers/
silver/       the follower that keeps aggregates
sinks/        the other followers
products/     the registry, and one folder a product
runtime/      a flow → a running query: session, query, driver, job
audit/        the proof; it only reads
operations/   what mends and cares for tables: replay, repair, rebuild, backup, erase, maintain
explorer/     read-only: catalogue, SQL, report, terminal app; no JVM
services/     real Kafka, Postgres, Java and jars, found or fetched and started locally
doctor/       checks of machine, services and lake
cli/          the verbs of the `lakehouse` command

A folder imports only from folders above it in this list; services from core and settings
alone.
"""

TYPE_CHECKING = False  # nothing is imported here: __main__ first leaves the working folder out
if TYPE_CHECKING:
    from pathlib import Path

    from lakehouse.explorer.lake import Lake

__all__ = ["open"]


def open(  # as in gzip.open
    root: "str | Path | None" = None, config: "str | Path | None" = None
) -> "Lake":
    """Open a lake for reading: its tables as Arrow, pandas, Polars and DuckDB, in one line each.

    ``root`` is its folder, by default [lake] root; ``config`` the config.ini to read. TableMissing
    where the folder holds no table.

    >>> lakehouse.open("var/demo")["silver.shop_by_country"].pandas()
    """
    from lakehouse.explorer.lake import opened  # noqa: PLC0415  # it loads Arrow and DuckDB

    return opened(root, config)
