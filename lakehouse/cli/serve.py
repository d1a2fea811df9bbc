"""The verb ``lakehouse dashboard``, and what verbs that run flows serve beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings


@contextmanager
def metrics(settings: Settings, port: int | None) -> Iterator[str]:
    """Serve what this process counts, and the lake's numbers, while flows run; the address.

    At ``port``, or else [metrics] port; nothing where that is 0.
    """
    port = settings.metrics.port if port is None else port
    if not port:
        yield ""
        return
    from lakehouse.cli.start import running_services
    from lakehouse.core.exposition import metric_routes
    from lakehouse.core.serving import health_routes, served
    from lakehouse.core.text import say
    from lakehouse.explorer.measured import Measured
    from lakehouse.explorer.observed import Observer

    with closing(Observer(settings, running_services)) as observer:
        routes = {**health_routes(), **metric_routes(Measured(observer))}
        with served(port, routes) as address:
            say(f"metrics: {address}/metrics")
            yield address
