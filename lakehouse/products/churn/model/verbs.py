"""The verbs of the model: it is trained, listed, promoted and rolled back."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.core.errors import LakehouseError, UsageError
from lakehouse.core.options import AsJson, Config, Root
from lakehouse.core.progress import progress
from lakehouse.products.churn.model.span import Span
from lakehouse.products.verbs import Verbs

if TYPE_CHECKING:
    import threading

    from lakehouse.products.churn.model.outcomes import Scored
    from lakehouse.products.churn.model.store import Models
    from lakehouse.settings.settings import Settings

Batch = Annotated[bool, typer.Option("--batch", help="score what is there now, then end")]
Since = Annotated[str | None, typer.Option(help="with --batch: again, from this Kafka time on")]
Until = Annotated[str | None, typer.Option(help="with --batch: again, up to this Kafka time")]
ByModel = Annotated[str, typer.Option(help="with --batch: again, by this version, promoted or not")]
OfLake = Annotated[bool, typer.Option("--lake", help="with --batch: bronze.churn, not the topic")]
OfFile = Annotated[
    Path | None, typer.Option(help="with --batch: customers of a file, not of the topic")
]
Out = Annotated[
    Path | None, typer.Option(help="with --csv: the folder that predictions are put in")
]
GENERATED = 10_000
"""Customers that a model is trained on where no file is given."""


class ModelVerbs(Verbs):
    """The verbs, as methods."""

    def train(
        self,
        csv: Annotated[
            Path | None, typer.Option(help="customers with IBM's columns, plain or .gz")
        ] = None,
        seed: Annotated[int, typer.Option(min=0, help="the same seed, the same model")] = 7,
        root: Root = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        """Train a model, and keep it as a version; the first one scores at once.

        Without a file it is trained on generated customers.

        Examples: lakehouse churn train   |   lakehouse churn train --csv customers.csv
        """
        from lakehouse.core.text import as_json as written
        from lakehouse.products.churn.model import need_packages

        settings, now = self.settings_of(config, root), datetime.now(UTC)
        need_packages()
        from lakehouse.products.churn.model import customers
        from lakehouse.products.churn.model.card import markdown
        from lakehouse.products.churn.model.store import Models
        from lakehouse.products.churn.model.training import train as trained

        given = customers.of_file(csv, now) if csv else customers.generated(GENERATED, seed, now)
        self.say(f"training on {given.rows.num_rows:,} customers of {given.source}")
        if given.broken:
            self.say(
                f"left out: {given.broken:,} that break the contract; the first: {given.example}"
            )
        models = Models(settings.lake.root)
        with progress(quiet=as_json):
            card = models.save(trained(given, seed=seed, now=now))
        scores = models.promoted() is None
        if scores:
            models.promote(card.version)
        folder = models.folder / card.version
        if as_json:
            told = {"version": card.version, "auc": card.auc, "promoted": scores, "path": folder}
            sys.stdout.write(written(told) + "\n")
        else:
            sys.stdout.write(markdown(card))
        then = "it scores from now on" if scores else "to let it score: lakehouse churn promote "
        self.say(f"kept in {folder}; {then}{'' if scores else card.version}")

    def models(self, root: Root = None, config: Config = None, as_json: AsJson = False) -> None:
        """List the versions of the model; the one that scores is marked.

        Examples: lakehouse churn models   |   lakehouse churn models --json
        """
        from lakehouse.core.text import as_json as written
        from lakehouse.core.text import printable
        from lakehouse.products.churn.model.store import Models

        store = Models(self.settings_of(config, root).lake.root)
        now = store.promoted()
        listed = [
            {"version": name, "scores": bool(now and now.version == name), **_told(store, name)}
            for name in store.versions()
        ]
        if as_json:
            sys.stdout.write(written({"models": listed}) + "\n")
            return
        for one in listed:
            mark = "*" if one["scores"] else " "
            told = one.get("refused") or f"AUC {one['auc']:.4f}  {one['trained_on']}"
            line = f"{mark} {one['version']}  {told}"
            sys.stdout.write(printable(line) + "\n")
        if not listed:
            self.say("no model yet: lakehouse churn train")

    def promote(
        self,
        version: Annotated[str, typer.Argument(help="as in lakehouse churn models")],
        root: Root = None,
        config: Config = None,
    ) -> None:
        """Let a version of the model score, once its files are checked.

        What scores takes it up without a restart.

        Examples: lakehouse churn promote 20261129T075141Z-20b88655
        """
        from lakehouse.products.churn.model import need_packages
        from lakehouse.products.churn.model.store import Models

        settings = self.settings_of(config, root)
        need_packages()
        self.say(f"{Models(settings.lake.root).promote(version).version} scores from now on")

    def score(
        self,
        batch: Batch = False,
        since: Since = None,
        until: Until = None,
        model: ByModel = "",
        lake: OfLake = False,
        csv: OfFile = None,
        out: Out = None,
        root: Root = None,
        config: Config = None,
        as_json: AsJson = False,
    ) -> None:
        """Score customers as they come, until Ctrl-C: a prediction of each, or a dead letter.

        Each record has one outcome, whatever ends this. It continues where it was, and takes a
        newly promoted model up. Run the same command again to continue an interrupted batch.

        Examples: lakehouse churn score   |   lakehouse churn score --batch   |
        lakehouse churn score --batch --csv customers.csv --out predictions   |
        lakehouse churn score --batch --since 2026-11-20 --model 20261129T075141Z-20b88655
        """
        from dataclasses import asdict

        from lakehouse.core.arrow_alone import without_pandas
        from lakehouse.core.errors import Exit
        from lakehouse.core.signals import stop_on_signals
        from lakehouse.explorer.times import time_of
        from lakehouse.products.churn.model import need_packages

        _check_chosen(batch, bool(since or until), model, lake, csv, out)
        settings = self.settings_of(config, root)
        need_packages()
        without_pandas()
        span = Span(
            time_of("--since", since) if since else None,
            time_of("--until", until) if until else None, model,
        )  # fmt: skip
        with progress(quiet=as_json), stop_on_signals(lambda: self.say("stopping")) as stop:
            if csv and out:
                scored = _of_file(settings, csv, out, model, stop)
            elif lake:
                scored = _of_lake(settings, model, stop)
            else:
                from lakehouse.products.churn.model.stream import ScoringService

                with self.broker(settings) as settings:
                    scored = ScoringService(settings, stop, span, available_now=batch).run()
        if as_json:
            sys.stdout.write(json.dumps(asdict(scored)) + "\n")
        self.say(f"{scored.predictions:,} predictions, {scored.dead_letters:,} dead letters")
        if batch and stop.interrupted:
            self.say("stopped: what is left of the batch, the same command does")
        raise SystemExit(Exit.INTERRUPTED if stop.interrupted else Exit.OK)

    def rollback(self, root: Root = None, config: Config = None) -> None:
        """Let the version of the model score again that did before.

        Examples: lakehouse churn rollback
        """
        from lakehouse.products.churn.model import need_packages
        from lakehouse.products.churn.model.store import Models

        settings = self.settings_of(config, root)
        need_packages()
        self.say(f"{Models(settings.lake.root).rollback().version} scores from now on")


def _told(store: Models, version: str) -> dict[str, Any]:
    """What a list says of a version; of one that is damaged, why it is of no use."""
    try:
        card = store.card(version)
    except LakehouseError as error:
        return {"refused": error.fault}
    return {
        "auc": round(card.auc, 4), "threshold": card.threshold, "trained_on": card.data.source,
        "created_at": card.created_at,
    }  # fmt: skip


def _check_chosen(
    batch: bool, is_span: bool, model: str, lake: bool, csv: Path | None, out: Path | None
) -> None:
    """Raise UsageError where options of ``churn score`` exclude each other."""
    if not batch and (is_span or model or csv or lake):
        raise UsageError(
            "lakehouse churn score", "--since, --until, --model, --lake and --csv are of a "
            "batch", "give --batch too",
        )  # fmt: skip
    if bool(csv) != bool(out):
        raise UsageError("--csv and --out", "belong together", "give both, or none")
    if sum(map(bool, (csv, lake, is_span))) > 1:
        raise UsageError(
            "lakehouse churn score", "scores a file, the lake, or a span of the topic",
            "give one of --csv, --lake, and --since or --until",
        )  # fmt: skip


def _of_file(settings: Settings, csv: Path, out: Path, model: str, stop: threading.Event) -> Scored:
    from lakehouse.ingest.verdict import TimeRules
    from lakehouse.products.churn.model.files import score_file
    from lakehouse.products.churn.model.store import Models
    from lakehouse.products.churn.settings import churn_of

    churn, models = churn_of(settings), Models(settings.lake.root)
    rules = TimeRules(churn.earliest_time, churn.future_tolerance)
    scorer = models.scorer(model or models.current())
    return score_file(csv, out, scorer, rules, stop, datetime.now(UTC))


def _of_lake(settings: Settings, model: str, stop: threading.Event) -> Scored:
    from lakehouse.core.lock import write_locks
    from lakehouse.core.paths import Lake
    from lakehouse.products.churn.model import lake
    from lakehouse.products.churn.model.outcomes import Scored
    from lakehouse.products.churn.model.store import Models
    from lakehouse.storage.follower import Stopping

    models, locks = Models(settings.lake.root), Lake(settings.lake.root).locks
    scorer = models.scorer(model or models.current())
    with write_locks(locks, [lake.TABLE], "churn.scored", settings.publish.lock_timeout):
        follower = lake.LakeScorer(settings, scorer)
        follower.stop = stop
        with suppress(Stopping):
            follower.catch_up()
            follower.maintain()
        return Scored(predictions=follower.scored)
