"""The verbs of the orders product: its capture, and the table's load."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lakehouse.core.options import AsJson, AvailableNow, Config, Root, group
from lakehouse.core.progress import progress
from lakehouse.core.signals import stop_on_signals
from lakehouse.core.text import Say
from lakehouse.products.verbs import Verbs
from producers.orders.options import AnewOption, ModeOption, ResendOption, SnapshotOption
from producers.orders.source import prepare

if TYPE_CHECKING:
    from lakehouse.settings.settings import Service, SettingsOf


def commands(
    settings_of: SettingsOf,
    broker: Service,
    database: Service,
    say: Say,
) -> dict[str, Callable[..., None] | typer.Typer]:
    """Verb → what it does."""
    verbs = OrdersVerbs(settings_of, broker, database, say)
    orders = group(
        "The table of food orders in Postgres. Example: lakehouse orders insert --count 5"
    )
    orders.command("insert")(verbs.insert)
    orders.command("verify")(verbs.verify)
    return {"capture": verbs.capture, "orders": orders}


class OrdersVerbs(Verbs):
    """The verbs, as methods."""

    def capture(
        self,
        product: Annotated[str, typer.Argument(help="what to capture: orders")],
        mode: ModeOption = "slot",
        snapshot: SnapshotOption = "initial",
        anew: AnewOption = False,
        resend: ResendOption = False,
        available_now: AvailableNow = False,
        root: Root = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        """Send the changes of a product's table in Postgres to Kafka, until Ctrl-C.

        The embedded Postgres and broker are started when no others are given; the
        embedded one gets the table of db/orders.sql.

        Examples: lakehouse capture orders   |   lakehouse capture orders --available-now   |
        lakehouse capture orders --mode poll --anew
        """
        from producers.orders.capture import capture_orders, exit_of, show

        settings = self.settings_of(config, root)
        settings.captured(product)
        is_embedded = not settings.postgres.url
        with self.database(settings) as settings, self.broker(settings) as settings:
            if is_embedded:
                prepare(settings)
            with stop_on_signals() as stop:
                summary = capture_orders(
                    settings, mode=mode, snapshot=snapshot, anew=anew, resend=resend,
                    available_now=available_now, stop=stop,
                )  # fmt: skip
        show(summary, as_json=as_json)
        raise SystemExit(exit_of(summary, stop))

    def insert(
        self,
        count: Annotated[int, typer.Option(min=0, help="orders to insert")] = 20,
        updates: Annotated[int, typer.Option(min=0, help="orders to move on")] = 0,
        deletes: Annotated[int, typer.Option(min=0, help="orders to delete")] = 0,
        bad: Annotated[int, typer.Option(min=0, help="of the inserted, break the contract")] = 0,
        seed: Annotated[int | None, typer.Option(help="the same seed, the same orders")] = None,
        root: Root = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        """Write orders into the table, which is made where it is missing.

        Examples: lakehouse orders insert --count 5   |
        lakehouse orders insert --count 1000 --updates 400 --deletes 20 --bad 10 --seed 7
        """
        from producers.orders.load import load

        settings = self.settings_of(config, root)
        seed = random.randrange(2**31) if seed is None else seed  # noqa: S311  # no secret
        with self.database(settings) as settings:
            prepare(settings)
            done = load(
                settings.postgres, settings.captured("orders").table,
                count=count, updates=updates, deletes=deletes, bad=bad, seed=seed,
                now=datetime.now(UTC),
            )  # fmt: skip
        if as_json:
            sys.stdout.write(json.dumps({**done, "seed": seed}) + "\n")
        else:
            told = ", ".join(f"{number:,} {what}" for what, number in done.items())
            self.say(f"{told}; seed {seed}")

    def verify(self, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
        """Audit the lake and the table in Postgres, part by part; exit 0 when all holds.

        It is `lakehouse audit orders --source --content all`, seen by its parts. Orders
        whose latest change is in quarantine are listed apart.

        Examples: lakehouse orders verify   |   lakehouse orders verify --json
        """
        from lakehouse.products.orders.verify import finish, verify

        with self.asking(config, root) as settings, progress(quiet=as_json):
            checks = verify(settings, self.say)
        finish(checks, as_json=as_json)
