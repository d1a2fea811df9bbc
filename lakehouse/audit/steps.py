"""The one place where an error of the audit becomes a doubt: it ends with an answer, always.

A file that cannot be read, a number that overflows, too little memory, a log that is
broken: none of them says that the tables differ, so none may end as "not proven",
and none may hide what the other steps find.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import duckdb
from kafka.errors import KafkaError

from lakehouse.core.errors import LakehouseError
from lakehouse.core.signals import is_interrupt
from lakehouse.core.text import one_line
from lakehouse.storage.faults import ENGINES

T = TypeVar("T")
_MEMORY = (duckdb.OutOfMemoryException, MemoryError)
_NUMBERS = (duckdb.OutOfRangeException, OverflowError)
_VALUES = duckdb.ConversionException
_OURS = (
    duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException, duckdb.SyntaxException,
)  # fmt: skip
"""What SQL of the audit's own is at fault for."""
_FILES = (*ENGINES, OSError)
_PANIC = "pyo3_runtime"
"""The module of a panic in delta-rs's Rust, which is no ``Exception``."""


class Steps:
    """Runs the steps of one audit and keeps a line for each that could not be answered."""

    def __init__(self) -> None:
        self.doubts: list[str] = []
        self.unreadable: Callable[[], list[str]] = list
        """Names the files of the tables at hand that cannot be read."""

    def run(self, what: str, step: Callable[[], T]) -> T | None:
        """What the step gives; None, and a doubt, where it fails."""
        try:
            return step()
        except BaseException as error:
            if not is_told(error):
                raise
            self.doubts.append(f"{what}: {self.told(error)}")
            return None

    def told(self, error: BaseException) -> str:
        """The error as text, with the file where one is the cause."""
        text = explain(error)
        if isinstance(error, _FILES) and not isinstance(
            error, (*_MEMORY, *_NUMBERS, _VALUES, *_OURS)
        ):
            named = [file for file in self.unreadable() if file not in text]
            return f"{text}; cannot be read: {', '.join(named)}" if named else text
        return text


def is_told(error: BaseException) -> bool:
    """Whether an error is reported as a doubt; an interrupt and an exit are raised on."""
    if is_interrupt(error):
        return False
    return isinstance(error, Exception) or type(error).__module__ == _PANIC


def explain(error: BaseException) -> str:
    """One line that says what kind of error it is, and its own words."""
    words = one_line(error, 400)
    if isinstance(error, LakehouseError):
        return f"{error.place}: {error.fault}: {error.remedy}"
    if isinstance(error, _MEMORY):
        return f"too little memory, raise [silver] engine_memory: {words}"
    if isinstance(error, _NUMBERS):
        return f"a number is too large to be computed with: {words}"
    if isinstance(error, _VALUES):
        return f"a value does not fit its column's type: {words}"
    if isinstance(error, KafkaError):
        return f"Kafka's answer cannot be used: {type(error).__name__} {words}"
    if isinstance(error, _FILES) and not isinstance(error, _OURS):
        return f"a file cannot be read: {words}"
    return f"the audit itself failed: {type(error).__name__}: {words}"
