"""The ``lakehouse`` command: which verbs there are, and exit codes that scripts can trust.

A verb's file is loaded when the verb is called, or listed; what the verb needs, when it runs.
Products' verbs come from the registry, and the products are loaded only where a verb is not
one of the engine's.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from lakehouse.cli.examples import Verb
from lakehouse.cli.watched import watched
from lakehouse.core.errors import Exit, LakehouseError, too_many_files
from lakehouse.core.options import Group
from lakehouse.core.signals import STOPS, Stopped, is_interrupt, stopped_by_sigterm
from lakehouse.core.text import say

if TYPE_CHECKING:
    from typer._click import Command

GROUPS = {
    "Run": {
        "demo": "flows:demo",
        "up": "flows:up",
        "run": "flows:run_flows",
        "produce": "flows:produce",
    },
    "Look": {
        "explore": "explore:explore",
        "dashboard": "serve:dashboard",
        "status": "status:status",
        "report": "asking:report",
        "sql": "asking:sql",
        "trace": "asking:trace",
        "diff": "asking:diff",
        "tables": "tables:tables",
        "history": "tables:history",
        "products": "tables:products",
        "schema": "tables:schema",
    },
    "Prove": {
        "audit": "audit:audit",
        "doctor": "doctor:doctor",
        "quarantine": "quarantine:app",
    },
    "Care": {
        "maintain": "tables:maintain",
        "backup": "recovery:backup",
        "restore": "recovery:restore",
        "erase": "erase:erase",
        "rebuild": "recovery:rebuild",
        "remark": "recovery:remark",
        "repair": "recovery:repair",
        "accept-gap": "recovery:accept_gap",
        "sink": "sinks:app",
        "move-services": "services:move_services",
    },
    "Build": {
        "jars": "tables:jars",
        "docs": "tables:docs",
    },
}
"""The engine's verbs by what they are for: the file in this folder, and what in it is the verb."""
VERBS = {name: place for verbs in GROUPS.values() for name, place in verbs.items()}
BOUNDED = {
    "tables", "history", "audit", "quarantine", "explore", "report", "sql", "trace", "diff",
    "doctor", "status", "dashboard",
}  # fmt: skip
"""Verbs that read in bounded memory, where an engine may end: see ``watched``."""
PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}
"""How ``produce`` is read: its options are its product's."""


class Verbs(Mapping[str, "Command"]):
    """Verb → its command, loaded when it is asked for: the engine's first, then the products'."""

    def __getitem__(self, name: str) -> Command:
        """The command; KeyError where neither the engine nor a product has such a verb."""
        return _command(name)

    def __iter__(self) -> Iterator[str]:
        """Every verb's name; asks the products for theirs."""
        return iter(dict.fromkeys((*VERBS, *_of_products())))

    def __len__(self) -> int:
        """How many verbs there are; asks the products for theirs."""
        return len({*VERBS, *_of_products()})


@cache
def _command(name: str) -> Command:
    if name in VERBS:
        file, _, attribute = VERBS[name].partition(":")
        verb = getattr(import_module(f"lakehouse.cli.{file}"), attribute)
    else:
        from lakehouse.products.registry import must_be_whole

        must_be_whole(name)
        verb = _of_products()[name]
    if isinstance(verb, typer.Typer):
        made: Command = typer.main.get_group(verb)
        made.name = name
        return made
    own = typer.Typer(add_completion=False, rich_markup_mode=None)
    own.command(name, cls=Verb, context_settings=PASSED_ON if name == "produce" else None)(verb)
    return typer.main.get_command(own)


@cache
def _of_products() -> dict[str, typer.Typer | Callable[..., Any]]:
    """Verb → what it does, of every product."""
    from lakehouse.cli import start
    from lakehouse.cli.edge import settings_of
    from lakehouse.products.registry import leaving_out, parts

    found: dict[str, typer.Typer | Callable[..., Any]] = {}
    for product, module in parts("verbs"):
        with leaving_out(product):
            found |= module.commands(settings_of, start.broker, start.database, say)
    return found


class Root(Group):
    """The command that has the verbs."""

    def __init__(self, **attributes: Any) -> None:
        """Take what typer gives, and the verbs; none of them is loaded yet."""
        super().__init__(**attributes)
        self.commands = Verbs()  # type: ignore[assignment]  # nothing is added to it

    def sections(self) -> Iterable[tuple[str, Iterable[str]]]:
        """The verbs by what they are for, then those of products."""
        own = [name for name in self.commands if name not in VERBS]
        return [*GROUPS.items(), ("Products", own)]


app = typer.Typer(
    cls=Root,
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="A streaming medallion lakehouse that proves its own numbers. Start with: lakehouse demo",
)


@app.callback()
def _root() -> None:
    """It has verbs, and does nothing itself."""


def main() -> None:
    """The command; a user's mistake is one message, never a traceback."""
    if BOUNDED.intersection(sys.argv[1:2]):
        watched(f"lakehouse {sys.argv[1]}")
    stopped_by_sigterm()
    _name_files_in_utf8()
    code = int(Exit.OK)
    try:
        app()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(Exit.OK)
    except LakehouseError as error:
        if not error.is_told:
            say(str(error))
            _say_where_more_is(error)
        code = int(error.exit_code)
    except OSError as error:
        if error.errno not in {errno.EMFILE, errno.ENFILE}:
            raise
        sys.stderr.write(f"{too_many_files(error)}\n")  # a console would open more
        code = int(Exit.UNAVAILABLE)
    except KeyboardInterrupt:
        code = int(Exit.INTERRUPTED)
    except (Stopped, Exception) as error:
        if not (isinstance(error, Stopped) or is_interrupt(error)):
            raise
        say("stopped before it was done")
        code = int(Exit.INTERRUPTED)
    leave(code)


def main_as(verb: str) -> None:
    """The command as a script that is one verb of it, with the script's arguments."""
    sys.argv = ["lakehouse", verb, *sys.argv[1:]]
    main()


def _say_where_more_is(error: LakehouseError) -> None:
    """Name the entry of the documents that explains the message, where there is one."""
    from lakehouse.cli.entries import DOCUMENT, entry_of

    if entry := entry_of(f"{error.place}: {error.fault}"):
        say(f"  more: docs/{DOCUMENT.name}, {entry}")


def _name_files_in_utf8() -> None:
    """Let the JVMs that are started name files as Python does: under LC_ALL=C an ü is a ?."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    if "utf" not in locale.lower():
        os.environ["LC_ALL"] = "C.UTF-8"


def leave(code: int) -> None:
    """End the process at once: threads that Spark calls back on never return.

    Everything is committed, synced and closed by now; a slow end would only print
    what native libraries still hold. What nobody reads of stderr is not waited for. Another
    signal changes nothing of how it ended.
    """
    for number in STOPS:
        signal.signal(number, lambda *_: os._exit(code))
    sys.stdout.flush()
    narration = threading.Thread(target=sys.stderr.flush, daemon=True)
    narration.start()
    narration.join(1)
    os._exit(code)
