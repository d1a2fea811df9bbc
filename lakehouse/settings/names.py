"""The sections of config.ini by name: what asks only for a name does not load their classes."""

from __future__ import annotations

SECTIONS = (
    "lake", "kafka", "postgres", "services", "stream", "bronze", "publish", "silver", "table",
    "maintenance", "spark", "explorer", "metrics", "lineage", "dashboard", "logging",
)  # fmt: skip
"""Fields of :class:`lakehouse.settings.settings.Settings`; each product adds its own section."""
FREE_SECTIONS = {"spark.conf": "spark_conf", "table.properties": "table_properties"}
"""Sections whose keys are passed on as they stand, to Spark and to Delta."""
CODE_SECTIONS = {
    "spark.conf": "Java's options, class paths, jars, plugins, Python's programs: whatever Spark's "
    "options run",
}
"""Of these, the ones by which whoever writes config.ini can run code."""
