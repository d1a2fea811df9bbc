"""The ``lakehouse`` command: which verbs there are, and exit codes that scripts can trust.

A verb's file declares its options and imports what it needs when it is called, so that
help and reading are quick.
"""

from __future__ import annotations

import errno
import os
import sys
import threading

import typer

from lakehouse.cli import audit, doctor, erase, explore, flows, quarantine, recovery, start, tables
from lakehouse.cli.edge import settings_of
from lakehouse.core.errors import Exit, LakehouseError, too_many_files
from lakehouse.core.signals import Stopped, is_interrupt, stopped_by_sigterm
from lakehouse.core.text import say
from lakehouse.products.registry import part, products

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    help="A streaming medallion lakehouse that proves its own numbers. Start with: lakehouse demo",
)
app.command("run")(flows.run_flows)
app.command("products")(tables.products)
app.command("up")(flows.up)
app.command("demo")(flows.demo)
app.command("produce", context_settings={"ignore_unknown_options": True, "help_option_names": []})(
    flows.produce
)
app.command("tables")(tables.tables)
app.command("history")(tables.history)
app.command("maintain")(tables.maintain)
app.command("jars")(tables.jars)
app.command("schema")(tables.schema)
app.command("docs")(tables.docs)
for product in products().values():
    if module := part(product, "verbs"):
        for name, verb in module.commands(settings_of, start.broker, start.database, say).items():
            if isinstance(verb, typer.Typer):
                app.add_typer(verb, name=name)
            else:
                app.command(name)(verb)
app.command("audit")(audit.audit)
app.command("erase")(erase.erase)
app.add_typer(quarantine.app, name="quarantine")
app.command("accept-gap")(recovery.accept_gap)
app.command("repair")(recovery.repair)
app.command("rebuild")(recovery.rebuild)
app.command("remark")(recovery.remark)
app.command("backup")(recovery.backup)
app.command("restore")(recovery.restore)
app.command("explore")(explore.explore)
app.command("doctor")(doctor.doctor)


def main() -> None:
    """The command; a user's mistake is one message, never a traceback."""
    stopped_by_sigterm()
    _name_files_in_utf8()
    code = int(Exit.OK)
    try:
        app()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(Exit.OK)
    except LakehouseError as error:
        say(str(error))
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


def _name_files_in_utf8() -> None:
    """Let the JVMs that are started name files as Python does: under LC_ALL=C an ü is a ?."""
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
    if "utf" not in locale.lower():
        os.environ["LC_ALL"] = "C.UTF-8"


def leave(code: int) -> None:
    """End the process at once: threads that Spark calls back on never return.

    Everything is committed, synced and closed by now; a slow end would only print
    what native libraries still hold. What nobody reads of stderr is not waited for.
    """
    sys.stdout.flush()
    narration = threading.Thread(target=sys.stderr.flush, daemon=True)
    narration.start()
    narration.join(1)
    os._exit(code)
