"""A job under spark-submit is told of the JVM's end before Spark ends, and finishes its batch.

There SIGTERM reaches the JVM, whose child we are. Its shutdown hooks run by priority, one
after another: ours comes before Spark's.

Worked example. Before: a batch is half written. SIGTERM to the JVM: the hook sets the stop,
and waits; Spark still serves. The batch is committed, the flow ends, the hook returns, Spark
ends. Crash here, or a batch that takes longer than the hook may wait: the next start reads
the batch again, from the table's ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark import SparkContext
from pyspark.java_gateway import ensure_callback_server_started

_PRIORITY = 1000
"""Hadoop runs hooks of a higher one first; Spark's own has 40."""


class _Hook:
    """What the JVM calls when it is to end."""

    def __init__(self, stop: threading.Event, told: Callable[[], None]) -> None:
        self.called, self.done = threading.Event(), threading.Event()
        self._stop, self._told = stop, told

    def run(self) -> None:
        """Ask the flow to stop, and wait for its end."""
        self.called.set()
        self._told()
        self._stop.set()
        self.done.wait()

    class Java:
        """What py4j needs to know."""

        implements = ("java.lang.Runnable",)


@contextmanager
def before_the_jvm(
    stop: threading.Event, seconds: float, told: Callable[[], None]
) -> Iterator[None]:
    """Inside, an end of spark-submit's JVM sets ``stop``, and waits so long for what is inside.

    Then the JVM's exit code is that of the job. Nothing is done where no spark-submit runs us.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        yield
        return
    SparkContext._ensure_initialized()
    jvm: Any = SparkContext._jvm
    hook = _Hook(stop, told)
    ensure_callback_server_started(SparkContext._gateway)  # type: ignore[no-untyped-call]  # PySpark's
    manager = jvm.org.apache.hadoop.util.ShutdownHookManager.get()
    unit, thread = jvm.java.util.concurrent.TimeUnit.SECONDS, jvm.java.lang.Thread(hook)
    manager.addShutdownHook(thread, _PRIORITY, int(seconds), unit)  # it compares what it is given
    code = 1
    try:
        yield
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        raise
    finally:
        if hook.called.is_set():
            _end(jvm, code)
        else:
            with suppress(Py4JError, Py4JNetworkError):  # it may be ending at this moment
                manager.removeShutdownHook(thread)
        hook.done.set()


def _end(jvm: Any, code: int) -> None:
    """End Spark, then the JVM, with our exit code: by itself it would say 143."""
    with suppress(Py4JError, Py4JNetworkError, OSError):
        if context := SparkContext._active_spark_context:
            context.stop()
        jvm.java.lang.Runtime.getRuntime().halt(code)
