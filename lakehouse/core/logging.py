"""Narration on stderr, as [logging] says, so that stdout is data."""

from __future__ import annotations

import logging
import sys
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


def _counted(_logger: Any, _method: str, line: Any) -> Any:
    MESSAGES.labels(line["level"]).inc()
    return line
