"""The verbs of the churn product: its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from lakehouse.core.options import Group
from lakehouse.products.churn.asked import verbs as asked
from lakehouse.products.churn.model import verbs as model

if TYPE_CHECKING:
    from lakehouse.settings.settings import Service, SettingsOf


def commands(
    settings_of: SettingsOf,
    broker: Service,
    database: Service,  # noqa: ARG001  # as every product's
    say: Callable[[str], None],
) -> dict[str, Callable[..., None] | typer.Typer]:
    """Verb → what it does."""
    group = typer.Typer(
        cls=Group,
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Customers about to leave, by a model. Example: lakehouse churn train",
    )
    group.command("train")(model.train_command(settings_of, say))
    group.command("models")(model.models_command(settings_of, say))
    group.command("promote")(model.promote_command(settings_of, say))
    group.command("rollback")(model.rollback_command(settings_of, say))
    group.command("topics")(asked.topics_command(settings_of, broker, say))
    group.command("sample")(asked.sample_command(settings_of))
    group.command("explain")(asked.explain_command(settings_of))
    group.command("verify")(asked.verify_command(settings_of, broker, say))
    group.command("score")(model.score_command(settings_of, broker, say))
    return {"churn": group}
