"""What is counted and measured, as Prometheus scrapes it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from lakehouse.core.metrics import REGISTRY
from lakehouse.core.serving import Answer, Request, Route

OWN = "/metrics/process"
"""The path of what this process counts, without what it reads of tables."""


def metric_routes(*tables: Collector) -> dict[str, Route]:
    """``/metrics``: what this process counts, and what ``tables`` say where they are read here."""
    return {"/metrics": _route(REGISTRY, *tables), OWN: _route(REGISTRY)}


class _Together(Collector):
    def __init__(self, parts: tuple[Collector, ...]) -> None:
        self._parts = parts

    def collect(self) -> Iterator[Metric]:
        for part in self._parts:
            yield from part.collect()


def _route(*parts: Collector) -> Route:
    def answer(request: Request) -> Answer:
        encode, kind = choose_encoder(request.accept)
        return Answer(encode(_Together(parts)), kind)

    return answer
