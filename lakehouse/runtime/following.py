"""Followers beside their bronze: it lands its next batch while they take the last one.

While a flow is behind they are at most as far behind as rows may wait; then bronze waits for
them. Else it gives way to them for a moment after each batch. A follower that
fails is reported at the next batch, or between two: what it did not take is in bronze.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pyarrow as pa

from lakehouse.core.ending import end_each
from lakehouse.core.metrics import FOLDS, FRESHNESS, WAITING
from lakehouse.ingest.landing import Landed
from lakehouse.storage.follower import Follower

_MOST_BYTES = 256 * 1024 * 1024
"""Bytes of rows that wait at most."""
_LONGEST = 15.0
"""Seconds that a batch waits at most."""
_MOMENT = 0.3
"""Seconds that a fold has the machine to itself."""
_EXPECTED = 1.0
"""Seconds in which a batch comes while a flow is behind."""


class Waiting:
    """Landed batches that are not folded yet: while a flow is behind, one fold takes several.

    A fold of a million rows costs half as much per row as one of 200,000. The rows are in
    bronze, so after a crash its log has them.
    """

    def __init__(self, most_rows: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_rows, self._clock = most_rows, clock
        self.batches: list[Landed] = []
        self._since = self._last = 0.0

    def add(self, batch: Landed) -> bool:
        """Whether this batch, and those before it, may wait for the next one."""
        self._last = self._clock()
        self._since = self._since if self.batches else self._last
        self.batches.append(batch)
        return batch.more and self.has_room() and self._last - self._since < _LONGEST

    def has_room(self) -> bool:
        """Whether one fold can take more than what waits."""
        held = [one.rows for one in self.batches if one.rows is not None]
        return (
            len(held) == len(self.batches)
            and sum(rows.num_rows for rows in held) < self._most_rows
            and sum(rows.nbytes for rows in held) < _MOST_BYTES
        )

    def is_due(self) -> bool:
        """Whether the batch that was expected does not come."""
        return bool(self.batches) and self._clock() - self._last >= _EXPECTED

    def taken(self) -> tuple[int, int, pa.Table | None]:
        """The version before the first batch, that of the last, and the rows between them.

        Without rows where they are not all at hand, or where another commit lies between.
        """
        batches, self.batches = self.batches, []
        after, version = batches[0].version - 1, batches[-1].version
        rows = [one.rows for one in batches if one.rows is not None]
        if len(rows) < len(batches) or version - after != len(batches):
            return after, version, None
        return after, version, pa.concat_tables(rows)


class Following:
    """The followers of one bronze, and the thread in which they take its batches.

    All but that thread is one caller at a time.
    """

    def __init__(self, followers: Sequence[Follower], most_rows: int) -> None:
        self.followers = followers
        self._lock = threading.Lock()
        """Over what follows; never held while a follower works."""
        self._waiting = Waiting(most_rows)
        self._is_due = self._is_busy = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._tell()  # what waited when a flow fell is taken from bronze at its next start

    def take(self, batch: Landed) -> None:
        """Let the followers take a batch, at once or with those to come.

        Waits where so much waits already that one fold could take no more.
        """
        self._raise()
        with self._lock:
            is_full = self._is_busy and not self._waiting.has_room()
        if is_full:
            self._settle()
        with self._lock:
            self._is_due |= not self._waiting.add(batch)
            self._tell()
            self._go_on()

    def give_way(self, batch: Landed) -> None:
        """Leave the machine to the followers for a moment, unless the flow is behind.

        On few cores a fold and bronze's next batch take longer side by side than in turn, and
        an event waits for both.
        """
        if not batch.more:
            self._join(_MOMENT)

    def rest(self) -> None:
        """Between batches: take those that wait for one that does not come; else do upkeep."""
        self._raise()
        with self._lock:
            self._is_due |= self._waiting.is_due()
            self._go_on()
            is_busy = self._is_busy
        if not is_busy:
            for follower in self.followers:
                follower.maintain()

    def persist(self) -> None:
        """Take all that waits, and leave the followers whole on disk."""
        try:
            self._settle()
            with self._lock:
                self._is_due = bool(self._waiting.batches)
                self._go_on()
            self._settle()
        finally:
            end_each(follower.persist for follower in self.followers)

    def wait(self) -> None:
        """Wait until the followers' threads have ended: until then their tables are written."""
        self._join()
        for follower in self.followers:
            follower.settle()

    def _join(self, seconds: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _go_on(self) -> None:
        """Set the followers to work where something is due; the lock is held."""
        if self._is_due and not self._is_busy:
            thread = threading.Thread(target=self._work, name="followers")
            thread.start()  # a machine may have no room for it
            self._thread, self._is_busy = thread, True

    def _settle(self) -> None:
        """Wait until the followers have taken what is due; raises what stopped them."""
        self._join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        try:
            while (due := self._next()) is not None:
                for follower in self.followers:
                    with FOLDS.labels(follower.name).time():
                        follower.take(*due)
                    if (rows := due[2]) is not None:
                        FRESHNESS.observe(follower.name, rows["kafka_time"], datetime.now(UTC))
                    follower.maintain()
        except BaseException as error:  # noqa: BLE001  # raised where the batches come from
            with self._lock:
                self._error, self._is_busy = error, False

    def _next(self) -> tuple[int, int, pa.Table | None] | None:
        with self._lock:
            if not self._is_due:
                self._is_busy = False
                return None
            self._is_due = False
            taken = self._waiting.taken()
            self._tell()
            return taken

    def _tell(self) -> None:
        """Say how many rows wait; the lock is held."""
        waiting = sum(batch.good for batch in self._waiting.batches)
        for follower in self.followers:
            WAITING.labels(follower.name).set(waiting)
