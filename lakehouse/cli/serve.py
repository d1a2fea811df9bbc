"""The verb ``lakehouse dashboard``, and what verbs that run flows serve beside them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.cli.edge import settings_of
from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.options import Config, Root
from lakehouse.core.text import say

if TYPE_CHECKING:
    from lakehouse.settings.settings import Settings


@contextmanager
def metrics(settings: Settings, port: int | None) -> Iterator[str]:
    """Serve what this process counts, and the lake's numbers, while flows run; the address.

    At ``port``, or else [metrics] port; nothing where that is 0.
    """
    if port := settings.metrics.port if port is None else port:
        with _numbers(settings, port) as address:
            yield address
    else:
        yield ""


@contextmanager
def with_dashboard(
    settings: Settings, config: Path | None, tell: Callable[[str], None] = say
) -> Iterator[None]:
    """The dashboard beside flows, in a process of its own: viewers take nothing of the flows'.

    ``tell`` is given its address. It is started again when it falls; flows never wait for it.
    """
    if not settings.dashboard.port:
        with metrics(settings, None) as address:
            if address:
                tell(f"metrics: {address}/metrics")
            yield
        return
    words = ["-m", "lakehouse", "dashboard", "--root", settings.lake.root]
    words += ["--config", str(config)] if config else []
    with _numbers(settings, settings.metrics.port) as address:
        kept = _KeptUp([*words, "--beside", address], tell)
        thread = threading.Thread(target=kept.run, name="dashboard", daemon=True)
        thread.start()
        try:
            yield
        finally:
            kept.end()
            thread.join()


class _KeptUp:
    """A dashboard's process, started again when it falls, until it is ended."""

    def __init__(self, words: Sequence[str], tell: Callable[[str], None]) -> None:
        self._words, self._tell = words, tell
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        """Keep it up; one that fails again and again is given up, and that is said."""
        from lakehouse.core.restarts import restarted

        try:
            restarted("the dashboard", self._once, self._stop)
        except ServiceUnavailable as error:
            self._tell(f"{error.place} {error.fault}, again and again; {error.remedy}")

    def end(self) -> None:
        """End it, and start none again."""
        self._stop.set()
        if process := self._process:
            process.terminate()

    def _once(self) -> None:
        """Run it, and tell its lines; ServiceUnavailable where it falls."""
        from lakehouse.core.processes import own_environment, python, started
        from lakehouse.products.registry import broken

        process = self._process = started(
            python(*self._words), env=own_environment(), stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        if self._stop.is_set():
            process.terminate()
        is_said = {line for one in broken() for line in one.told().splitlines()}
        for line in process.stderr or ():
            text = line.decode("utf-8", "replace").rstrip()
            if text not in is_said:
                self._tell(text)
        code = process.wait()
        if not self._stop.is_set():
            raise ServiceUnavailable(
                "the dashboard", f"ended with {code}", "start one by hand: lakehouse dashboard"
            )


@contextmanager
def _numbers(settings: Settings, port: int) -> Iterator[str]:
    """Serve numbers and health at a port, or at a free one where that is 0."""
    from lakehouse.core.exposition import metric_routes
    from lakehouse.core.serving import health_routes, served
    from lakehouse.explorer.measured import Measured
    from lakehouse.explorer.observed import Observer
    from lakehouse.services.running import running_services

    with closing(Observer(settings, running_services)) as observer:
        routes = {**health_routes(), **metric_routes(Measured(observer))}
        with served(port, routes) as address:
            yield address


def dashboard(
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="on loopback; [dashboard] port")
    ] = None,
    beside: Annotated[str | None, typer.Option(hidden=True)] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Serve pages on this machine: each product's business, and the pipeline. Reads only.

    Examples: lakehouse dashboard   |   lakehouse dashboard --port 8080 --root var/demo
    """
    from lakehouse.core.exposition import metric_routes
    from lakehouse.core.memory import bounded, growth
    from lakehouse.core.processes import give_way
    from lakehouse.core.serving import health_routes, served
    from lakehouse.core.signals import stop_on_signals
    from lakehouse.explorer.dashboard.beside import Beside
    from lakehouse.explorer.dashboard.pages import Pages
    from lakehouse.explorer.measured import Measured
    from lakehouse.explorer.observed import Observer
    from lakehouse.explorer.report import views
    from lakehouse.explorer.session import Session
    from lakehouse.services.running import running_services
    from lakehouse.settings.settings import secret

    give_way(alone=beside is not None)  # viewers take nothing of the flows'
    settings = settings_of(config, root, is_made=beside is None)  # `up` makes it
    held = settings.dashboard
    token = (
        secret(held.token, held.token_file, "[dashboard] token_file")
        if held.token or held.token_file
        else ""
    )
    with ExitStack() as stack:
        stack.enter_context(bounded(growth(settings.explorer.memory_limit)))
        observer = stack.enter_context(closing(Observer(settings, running_services)))
        session = Session(observer.catalogue, settings.explorer, views(None, settings))
        pages = Pages(observer, stack.enter_context(session), Beside(beside or ""))
        routes = {
            **health_routes(lambda: [*observer.look().faults.values()]),
            **metric_routes(Measured(observer)), **pages.routes(),
        }  # fmt: skip
        stop = stack.enter_context(stop_on_signals())
        try:
            asked = held.port if port is None else port
            address = stack.enter_context(served(asked, routes, token))
        except ServiceUnavailable:
            if port is not None:
                raise
            address = stack.enter_context(served(0, routes, token))
        say(f"dashboard: {address}" + ("" if beside else "; Ctrl-C ends it"))
        if beside is not None:
            threading.Thread(target=_ended_with, args=(stop,), daemon=True).start()
        else:  # somebody is about to open it: the first look is the longest
            threading.Thread(target=observer.look, daemon=True).start()
        stop.wait()


def _ended_with(stop: threading.Event) -> None:
    """End with the process that started this one: its end closes our stdin."""
    sys.stdin.read()
    stop.set()
