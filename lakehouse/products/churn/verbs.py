"""The verbs of the churn product: its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from lakehouse.core.options import group
from lakehouse.core.text import Say
from lakehouse.products.churn.asked.verbs import AskedVerbs
from lakehouse.products.churn.model.verbs import ModelVerbs

if TYPE_CHECKING:
    from lakehouse.settings.settings import Service, SettingsOf


def commands(
    settings_of: SettingsOf,
    broker: Service,
    database: Service,
    say: Say,
) -> dict[str, Callable[..., None] | typer.Typer]:
    """Verb → what it does."""
    churn = group("Customers about to leave, by a model. Example: lakehouse churn train")
    model = ModelVerbs(settings_of, broker, database, say)
    asked = AskedVerbs(settings_of, broker, database, say)
    for verb in (
        model.train, model.models, model.promote, model.rollback,
        asked.topics, asked.sample, asked.explain, asked.verify, model.score,
    ):  # fmt: skip
        churn.command(verb.__name__)(verb)
    return {"churn": churn}
