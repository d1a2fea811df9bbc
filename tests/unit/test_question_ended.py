"""A question that is ended, and the one after it, which the same engine answers."""

import threading
import time

import pytest

from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.session import Cancelled, Session
from tests.conftest import load_settings

ENDLESS = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b"
A_MOMENT = "SELECT sum(range * 7 % 11) AS n FROM range(40000000)"
"""Longer than it takes to interrupt again."""


def test_the_next_question_is_not_ended_with_the_one_before(tmp_path):
    with Session(Catalogue(str(tmp_path)), load_settings().explorer, {}) as session:

        def end():
            while session._running is None:
                time.sleep(0.01)
            time.sleep(0.1)
            session.cancel()

        threading.Thread(target=end).start()
        with pytest.raises(Cancelled):
            session.ask(ENDLESS)
        assert session.ask(A_MOMENT).rows.num_rows == 1
