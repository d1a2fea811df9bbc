"""Help whose examples can be typed as they stand: their names come from the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse.core.options import Command

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter


class Verb(Command):
    """A verb whose help may say ``{product}``, ``{table}``, ``{person}`` and ``{sink}``."""

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the help, of the products that there are."""
        self.help = named(self.help or "")
        for parameter in self.params:
            if text := getattr(parameter, "help", None):
                parameter.help = named(text)  # type: ignore[attr-defined]  # it has one
        super().format_help(ctx, formatter)


def named(text: str) -> str:
    """The text with the names of the main product, a silver table of it, and fields of persons.

    ``{sink}`` is the first product that sends on what it has.
    """
    if "{" not in text:
        return text
    from lakehouse.model.flow import SilverFlow
    from lakehouse.model.sink import SinkFlow
    from lakehouse.products.registry import contracts, products

    main = next(iter(products().values()))
    tables = [table for f in main.flows if isinstance(f, SilverFlow) for table in f.tables]
    sends = (p for p in products().values() if any(isinstance(f, SinkFlow) for f in p.flows))
    persons = dict.fromkeys(c.person for c in contracts().values() if c.person)
    names = {
        "{product}": main.name,
        "{table}": tables[0] if tables else f"bronze.{main.name}",
        "{person}": " or ".join(persons) or "the person",
        "{sink}": next(sends, main).name,
    }
    for word, name in names.items():
        text = text.replace(word, name)
    return text
