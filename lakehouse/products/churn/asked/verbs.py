"""The verbs that ask the lake: a sample, a customer explained, a verification."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from lakehouse.core.errors import Exit
from lakehouse.core.options import AsJson, Config, Root
from lakehouse.core.paths import check_made
from lakehouse.core.progress import progress
from lakehouse.products.verbs import Verbs


class AskedVerbs(Verbs):
    """The verbs, as methods."""

    def sample(
        self,
        count: Annotated[int, typer.Option(min=1, max=10_000, help="how many")] = 10,
        root: Root = None,
        config: Config = None,
    ) -> None:
        """Print the newest predictions, each with the record that it was made of, as JSON.

        Examples: lakehouse churn sample   |   lakehouse churn sample --count 3
        """
        from lakehouse.core.text import as_json as written
        from lakehouse.products.churn.asked.traced import sample as found

        settings = self.settings_of(config, root)
        check_made(settings.lake.root)
        sys.stdout.write(written(found(settings, count), indent=2) + "\n")

    def explain(
        self,
        customer: Annotated[str, typer.Argument(help="the customerID")],
        root: Root = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        """Say what was predicted of a customer, why, and where the records lie.

        Examples: lakehouse churn explain 7590-VHVEG   |   lakehouse churn explain 7590-VHVEG --json
        """
        from lakehouse.core.text import as_json as written
        from lakehouse.products.churn.asked.told import told
        from lakehouse.products.churn.asked.traced import explain as found

        settings = self.settings_of(config, root)
        check_made(settings.lake.root)
        answer = found(settings, customer)
        sys.stdout.write(f"{written(answer, indent=2)}\n" if as_json else told(answer))

    def topics(
        self,
        wait: Annotated[
            float, typer.Option(min=0, help="seconds until all customers have an outcome")
        ] = 0,
        root: Root = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        """Make the topics where they are missing; say what they hold, and what is not scored.

        With --wait, exit 4 where customers still have no outcome then.

        Examples: lakehouse churn topics   |   lakehouse churn topics --wait 60
        """
        from dataclasses import asdict

        from lakehouse.core.signals import stop_on_signals
        from lakehouse.products.churn.asked.topics import topics as found

        with self.broker(self.settings_of(config, root)) as settings, stop_on_signals() as stop:
            held = found(settings, wait, stop)
        if as_json:
            sys.stdout.write(json.dumps({"topics": [asdict(one) for one in held]}) + "\n")
        else:
            for one in held:
                left = "" if one.not_scored is None else f", {one.not_scored:,} not scored"
                parts = "1 partition" if one.partitions == 1 else f"{one.partitions} partitions"
                sys.stdout.write(f"{one.topic}: {parts}, {one.offsets:,} offsets{left}\n")
        if stop.interrupted:
            raise SystemExit(Exit.INTERRUPTED)
        waiting = held[0].not_scored
        if wait and waiting:
            self.say(
                f"{waiting:,} customers have no outcome after {wait:g} s; lakehouse churn score"
            )
            raise SystemExit(Exit.TIMEOUT)

    def verify(self, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
        """Audit customers and predictions, one named check a part; exit 0 when all holds.

        It is `lakehouse audit churn --content all`, seen by its parts.

        Examples: lakehouse churn verify   |   lakehouse churn verify --json
        """
        from lakehouse.explorer.named_checks import finish
        from lakehouse.products.churn.asked.verify import verify

        with (
            self.asking(config, root, with_database=False) as settings, progress(quiet=as_json)
        ):  # fmt: skip
            checks = [*verify(settings, self.say)]
        finish(checks, as_json=as_json)
