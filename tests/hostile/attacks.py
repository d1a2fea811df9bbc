"""Ways in which a stranger's lake names files that are not its own, or has none in their place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from deltalake import DeltaTable

HOME = "home"
"""Where the user's own files are, beside the lake."""


def home(root: Path) -> Path:
    return root.parent / HOME


def first_file(root: Path, table: str) -> Path:
    return sorted((root / table).rglob("*.parquet"))[0]


def log_of(root: Path, table: str) -> Path:
    return root / table / "_delta_log"


def newest(root: Path, table: str) -> Path:
    return max(log_of(root, table).glob("[0-9]*.json"))


def adds(root: Path, table: str, path: object, **more: object) -> None:
    """A commit that adds a file of this name, of the size of the user's file."""
    version = int(newest(root, table).stem) + 1
    taken = (home(root) / "data.parquet").stat().st_size
    add = {"path": path, "partitionValues": {}, "size": taken, "modificationTime": 1,
           "dataChange": True}  # fmt: skip
    columns = DeltaTable(root / table).metadata().partition_columns
    add["partitionValues"] = dict.fromkeys(columns, "2026-11-20")
    info = {"timestamp": 1, "operation": "WRITE", "operationParameters": {}}
    lines = [{"commitInfo": info}, {"add": {**add, **more}}]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    (log_of(root, table) / f"{version:020}.json").write_text(text)


def named(form: str, **more: object) -> Callable[[Path], None]:
    """Every table names the user's file by one form of its path."""

    def attack(root: Path) -> None:
        path = str(home(root) / "data.parquet")
        up = f"../../../{HOME}/data.parquet"
        given = {
            "up": up,
            "encoded": up.replace("..", "%2e%2e"),
            "slashes": up.replace("/", "%2F"),
            "twice": up.replace("..", "%252e%252e"),
            "through": f"x/../{up}",
            "absolute": path,
            "absolute, encoded": path.replace("/", "%2F"),
            "address": f"file://{path}",
            "address, short": f"file:{path}",
            "of a store": "s3://bucket/data.parquet",
            "another table": "../../quarantine/sales/x.parquet",
            "zero": "a\0b.parquet",
        }[form]
        for table in ("bronze/sales", "quarantine/sales", "silver/sales_by_country"):
            adds(root, table, given, **more)

    return attack


def removed(root: Path) -> None:
    """The log takes out a file that is the user's: vacuum removes what was taken out."""
    version = int(newest(root, "bronze/sales").stem) + 1
    gone = {"path": f"../../../{HOME}/data.parquet", "deletionTimestamp": 1, "dataChange": True,
            "size": 1, "partitionValues": {}}  # fmt: skip
    info = {"timestamp": 1, "operation": "WRITE", "operationParameters": {}}
    lines = [{"commitInfo": info}, {"remove": gone}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (log_of(root, "bronze/sales") / f"{version:020}.json").write_text(text)


def replaced(place: Callable[[Path], Path], by: str) -> Callable[[Path], None]:
    """Something else in the place of a file or folder: a link to the user's, a pipe, a device."""

    def attack(root: Path) -> None:
        path = place(root)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        if by == "pipe":
            os.mkfifo(path)
        elif by == "endless":
            path.symlink_to("/dev/zero")
        elif by == "folder":
            path.symlink_to(home(root), target_is_directory=True)
        else:
            path.symlink_to(home(root) / by)

    return attack


def _lock(root: Path) -> Path:
    return root / "_locks" / "bronze.sales.lock"


ATTACKS: dict[str, Callable[[Path], None]] = {
    **{
        f"a log names a file: {form}": named(form)
        for form in (
            "up", "encoded", "slashes", "twice", "through", "absolute", "absolute, encoded",
            "address", "address, short", "of a store", "another table", "zero",
        )
    },
    "a log removes the user's file": removed,
    "a log lacks a partition": lambda r: adds(r, "bronze/sales", "x", partitionValues={}),
    "a log has another partition": lambda r: adds(
        r, "bronze/sales", "x", partitionValues={"event_date": "x"}
    ),
    "a log has a size of another kind": lambda r: adds(r, "bronze/sales", "x", size="1"),
    "a log has a size beyond all": lambda r: adds(r, "quarantine/sales", "x", size=2**63 - 1),
    "a log has a path of another kind": lambda r: adds(r, "bronze/sales", 7),
    "a log has statistics of another kind": lambda r: adds(r, "bronze/sales", "x", stats="[1"),
    "a link for a data file": replaced(lambda r: first_file(r, "bronze/sales"), "data.parquet"),
    "a pipe for a data file": replaced(lambda r: first_file(r, "bronze/sales"), "pipe"),
    "a device for a data file": replaced(lambda r: first_file(r, "quarantine/sales"), "endless"),
    "a link for a data folder": replaced(lambda r: first_file(r, "bronze/sales").parent, "folder"),
    "a link for a new folder": replaced(lambda r: r / "bronze" / "sales" / "old", "folder"),
    "a link for a commit": replaced(lambda r: newest(r, "bronze/sales"), "notes.json"),
    "a pipe for a commit": replaced(lambda r: newest(r, "quarantine/sales"), "pipe"),
    "a pipe for a hint": replaced(lambda r: log_of(r, "bronze/sales") / "_last_checkpoint", "pipe"),
    "a link for a table": replaced(lambda r: r / "silver" / "sales_by_country", "folder"),
    "a link for a layer": replaced(lambda r: r / "ledger", "folder"),
    "a link for a lock": replaced(_lock, "diary.txt"),
    "a pipe for a lock": replaced(_lock, "pipe"),
    "a link for the locks": replaced(lambda r: r / "_locks", "folder"),
    "a link for _aside": replaced(lambda r: r / "_aside", "folder"),
    "a link for _rebuild": replaced(lambda r: r / "_rebuild", "folder"),
    "a link for a rebuild": replaced(lambda r: r / "_rebuild" / "sales", "folder"),
    "a link for _state": replaced(lambda r: r / "_state", "folder"),
    "a link for a broker": replaced(lambda r: r / "kafka", "folder"),
    "a pipe for plain files' mark": replaced(
        lambda r: r / "parquet" / "orders" / "_taken.json", "pipe"
    ),
}  # fmt: skip
OF_A_BROKER = ("a link for a broker",)
"""Attacks on the broker that a verb starts in the lake."""
AGAIN = tuple(
    f"a log names a file: {form}"
    for form in ("slashes", "twice", "through", "absolute, encoded", "address, short",
                 "another table")
)  # fmt: skip
"""Forms that one function refuses as it does the others: see tests/unit/test_within.py."""
