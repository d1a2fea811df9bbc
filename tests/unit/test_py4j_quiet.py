"""A JVM that ends in the middle of a call: py4j's own report of it is not the user's to read."""

import logging

import py4j.java_gateway as gateway
import pytest
from py4j import clientserver

from lakehouse.runtime.session import quiet_py4j

REPORT = """
try:
    raise ConnectionResetError
except ConnectionResetError:
    logging.exception("Exception while sending command.")
"""


@pytest.fixture
def root():
    filters, own = [*logging.getLogger().filters], logging.getLogger("py4j")
    level = own.level
    yield logging.getLogger()
    logging.getLogger().filters[:] = filters
    own.setLevel(level)


def test_a_broken_call_prints_no_traceback_and_others_still_do(root, caplog):
    quiet_py4j()
    quiet_py4j()
    for place in (gateway.__file__, __file__):
        exec(compile(REPORT, place, "exec"), {"logging": logging})  # as of there
    assert [record.pathname for record in caplog.records] == [__file__]
    assert len(root.filters) == 1


def test_what_a_batch_raises_is_told_by_the_flow_alone(root, caplog):
    """A JVM without memory ended a batch, and its error was 80 lines of py4j's before ours."""
    quiet_py4j()
    clientserver.logger.exception("There was an exception while executing the Python Proxy")
    assert not caplog.records
