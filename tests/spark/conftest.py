"""One Spark session for all tests of this folder."""

import pytest
from pyspark.sql import SparkSession

from lakehouse.contracts import load_settings
from lakehouse.runtime.session import Engine, session
from lakehouse.services.jars import default_cache, spark_jars
from lakehouse.services.java import find_java


@pytest.fixture(scope="session")
def spark() -> SparkSession:
    """A local session with the pinned jars."""
    settings = load_settings()
    cache = default_cache()
    java = find_java(cache)
    return session(settings, "tests", Engine(java.home, spark_jars(cache, java, print)))
