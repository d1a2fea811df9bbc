"""One Spark session for all tests of this folder."""

import pytest
from pyspark.sql import SparkSession

from lakehouse.cli import engine
from lakehouse.contracts import load_settings
from lakehouse.runtime.session import session


@pytest.fixture(scope="session")
def spark() -> SparkSession:
    """A local session with the pinned jars."""
    return session(load_settings(), "tests", engine(print))
