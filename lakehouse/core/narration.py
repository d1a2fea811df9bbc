"""Narration on stderr, as [logging] says, so that stdout is data."""

from __future__ import annotations

import logging
import sys

import structlog

from lakehouse.core.settings import Settings


def configure_logging(settings: Settings) -> None:
    """Narration on stderr as [logging] says: for people on a terminal, JSON elsewhere."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
            if settings.logging.format == "console"
            or (settings.logging.format == "auto" and sys.stderr.isatty())
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            getattr(logging, settings.logging.level.upper())
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
