"""What the verbs that run whole products need: which ones, what feeds them, their Postgres."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.cli.edge import settings_of
from lakehouse.core.errors import Exit, UsageError
from lakehouse.core.options import Config, Root
from lakehouse.core.paths import Lake
from lakehouse.core.signals import stop_on_signals
from lakehouse.core.text import say
from lakehouse.model.flow import Flow
from lakehouse.model.product import Product
from lakehouse.model.sink import PostgresSink
from lakehouse.products.registry import (
    broken,
    flows,
    load_parts,
    look_at_all,
    must_be_whole,
    part,
    product,
    products,
)

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings


_RUN_BY = ("source", "report", "verbs")
"""The modules of a product that are loaded before anything of it runs."""


def must_plan(*wanted: Product) -> None:
    """DeclarationError where SQL of one of these products cannot run, or what it runs by fails."""
    from lakehouse.products.bound import check_sql  # help loads no engine

    check_sql(*wanted)
    for p in wanted:
        for name in _RUN_BY:
            part(p, name)


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Each product: its topics, flows and tables, and which of these the lake has.

    Each is looked at as a whole, its SQL too: who writes one looks here first. Of one that is
    broken the state says why.
    """

    look_at_all()
    lake = Lake(settings.lake.root)
    found = []
    for p in products().values():
        tables = [table for f in p.flows for table in f.tables]
        made = [table for table in tables if Path(lake.table(table)).is_dir()]
        found.append(
            {
                "product": p.name,
                "enabled": settings.product(p.name).enabled,
                "state": f"{len(made)} of {len(tables)} tables are there" if made else "not begun",
                "flows": [f.name for f in p.flows],
                "tables": tables,
                "topics": [settings.product(c.name).topic for c in p.contracts],
            }
        )
    nothing: dict[str, Any] = {"flows": [], "tables": [], "topics": []}
    for one in broken():
        state = f"broken: {one.error.place}: {one.error.fault}"
        found.append({"product": one.name, "enabled": False, "state": state, **nothing})
    return found


def chosen(names: Sequence[str], settings: Settings) -> list[Product]:
    """The products named; without names those that are switched on, but for what is broken.

    DeclarationError where SQL of one that is named cannot run.
    """
    if names:
        found = [product(name) for name in dict.fromkeys(names)]
        must_plan(*found)
        return found
    flows()
    load_parts(*_RUN_BY)
    on = [p for p in products().values() if settings.product(p.name).enabled]
    if not on:
        raise UsageError(
            "lakehouse up", "no product is switched on",
            "name one, or write enabled = true in its section of config.ini",
        )  # fmt: skip
    return on


def with_part(name: str | None, what: str) -> Product:
    """The product that brings such a module, the main one where none is named; or UsageError."""
    having = {p.name: p for p in products().values() if getattr(p, what)}
    name = name or next((p.name for p in having.values() if p.is_main), "")
    if name not in having:
        must_be_whole(name)
        known = " or ".join(having) or "another verb"
        fault = f"has no {what}" if name in products() else "is not known"
        raise UsageError(f"product {name!r}", fault, f"use {known}")
    return having[name]


def loaded(found: Product, what: str) -> Any:
    """The module that a product of :func:`with_part` brings."""
    return part(found, what)


@dataclass
class Sources:
    """What feeds products' topics, a thread each, until the stop."""

    settings: Settings
    stop: threading.Event
    rate: float | None
    _threads: list[threading.Thread] = field(default_factory=list)
    _failed: list[BaseException] = field(default_factory=list)

    def start(self, running: Sequence[Product]) -> None:
        """Begin to send; a source that fails for good sets the stop."""
        for p in running:
            if module := part(p, "source"):
                thread = threading.Thread(target=self._feed, args=(p.name, module), name=p.name)
                self._threads.append(thread)
                thread.start()

    def _feed(self, name: str, source: ModuleType) -> None:
        from lakehouse.core.restarts import restarted

        def live() -> None:
            source.live(self.settings, self.stop, self.rate, None)

        try:
            restarted(f"the source of {name}", live, self.stop)
        except BaseException as error:  # noqa: BLE001  # raised again by `end`
            self._failed.append(error)
            self.stop.set()

    def wait(self) -> None:
        """Wait for all to end; what they sent is acknowledged by then."""
        for thread in self._threads:
            thread.join()

    def end(self) -> None:
        """Set the stop, wait for all, and raise what the first that failed raised."""
        self.stop.set()
        self.wait()
        if self._failed:
            raise self._failed[0]


@contextmanager
def with_postgres(
    settings: Settings,
    wanted: Sequence[Product],
    database: Callable[[Settings], AbstractContextManager[Settings]],
) -> Iterator[Settings]:
    """Settings that name a running Postgres, where a source or a sink of the products needs it."""
    needing = [p for p in wanted if p.needs_postgres]
    if not needing and not any(writes_postgres(p.flows) for p in wanted):
        yield settings
        return
    is_embedded = not settings.postgres.url
    with database(settings) as running:
        for p in needing:
            prepare = getattr(part(p, "source"), "prepare", None)
            if is_embedded and prepare is not None:
                prepare(running)
        yield running


def writes_postgres(flows: Sequence[Flow]) -> bool:
    """Whether one of the flows is a sink into Postgres."""
    return any(isinstance(f, PostgresSink) for f in flows)


def sender(found: Product) -> Callable[..., None]:
    """The verb that sends a product's events: with options of its own, or the plain ones."""
    source = loaded(found, "source")
    if own := getattr(source, "produce", None):
        return own  # type: ignore[no-any-return]  # a module's attribute has no type

    def send(
        count: Annotated[
            int | None, typer.Option(min=1, help="finish after so many records")
        ] = None,
        rate: Annotated[float | None, typer.Option(min=0.001, help="records a second")] = None,
        bootstrap_servers: Annotated[str, typer.Option(help="the broker")] = "",
        root: Root = None,
        config: Config = None,
    ) -> None:
        settings = settings_of(config, root).with_kafka(bootstrap_servers)
        with stop_on_signals(lambda: say("stopping")) as stop:
            sent = source.live(settings, stop, rate, count)
        say(f"{found.name}: {sent:,} records sent")
        raise SystemExit(Exit.INTERRUPTED if stop.interrupted else Exit.OK)

    send.__doc__ = f"Send events of {found.name} to Kafka, until Ctrl-C or --count."
    return send
