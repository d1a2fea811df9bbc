"""The interactive menu: a number or a word a line; works from a pipe too."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.prompt import Prompt

from lakehouse.core.errors import LakehouseError
from lakehouse.explorer.catalogue import Catalogue
from lakehouse.explorer.show import Format
from lakehouse.explorer.views import REPORT

Answer = Callable[[str, Format], str]
CHOICES = {
    "1": ("totals", "Totals by currency"),
    "2": ("countries", "Countries"),
    "3": ("segments", "Segments: B2B and B2C"),
    "4": ("clients", "Top clients: recency, RFM, tier"),
    "5": ("tiers", "Loyalty tiers"),
    "6": ("months", "Months, against the month before"),
    "7": ("days", "Last days, against the day before"),
    "8": ("products", "Top products"),
    "9": ("quality", "Data quality: late and doubled events"),
    "10": ("quarantine", "Quarantine, by verdict"),
}
HELP = "a number; 'client ID'; 't' tables; 'f FORMAT'; any SELECT; 'q' to leave"


def menu(answer: Answer, catalogue: Catalogue) -> None:
    """Ask, answer, until ``q``, Ctrl-D or Ctrl-C."""
    console = Console()
    form = Format.table
    _show(console)
    while True:
        try:
            line = Prompt.ask("[bold]explore[/]", console=console, default="", show_default=False)
        except (EOFError, KeyboardInterrupt):
            return
        line = line.strip()
        if line in {"q", "quit", "exit"}:
            return
        if line.startswith("f ") and line[2:].strip() in list(Format):
            form = Format(line[2:].strip())
            continue
        try:
            _answer(line, form, answer, catalogue, console)
        except LakehouseError as error:
            console.print(str(error), markup=False, highlight=False)


def _answer(
    line: str, form: Format, answer: Answer, catalogue: Catalogue, console: Console
) -> None:
    if line in CHOICES:
        sys.stdout.write(answer(REPORT[CHOICES[line][0]], form))
    elif line == "t":
        for name in catalogue.names():
            info = catalogue.info(name)
            console.print(f"{info.name:32} {info.rows:>12,} rows  version {info.version}")
    elif line.startswith("client "):
        client = line.removeprefix("client ").strip().replace("'", "''")
        sys.stdout.write(answer(f"SELECT * FROM clients WHERE client_id = '{client}'", form))
    elif line in {"", "?", "h", "help"}:
        _show(console)
    else:
        sys.stdout.write(answer(line, form))
    sys.stdout.flush()


def _show(console: Console) -> None:
    for number, (_, text) in CHOICES.items():
        console.print(f" [bold cyan]{number:>3}[/]  {text}")
    console.print(f" [dim]{HELP}[/]")
