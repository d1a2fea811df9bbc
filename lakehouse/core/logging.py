"""Narration on stderr, as [logging] says, so that stdout is data."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import structlog

from lakehouse.core.metrics import MESSAGES


def configure_logging(form: str, level: str) -> None:
    """Narration on stderr: ``form`` is console, json, or auto: console on a terminal."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _counted,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if form == "console" or (form == "auto" and sys.stderr.isatty())
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


@contextmanager
def handed_to(take: Callable[[Mapping[str, Any]], None]) -> Iterator[None]:
    """Give each line, as a mapping with ``event``, ``level`` and ``timestamp``, to ``take``.

    It is not printed as long as that lasts.
    """

    def give(_logger: Any, _method: str, line: Any) -> Any:
        take(line)
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[*before[:-1], give])
    try:
        yield
    finally:
        structlog.configure(processors=before)


def _counted(_logger: Any, _method: str, line: Any) -> Any:
    MESSAGES.labels(line["level"]).inc()
    return line
