"""One check of the verification, and what every check is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb

from lakehouse.audit.pins import Snapshots
from lakehouse.audit.proof import Proof
from lakehouse.core.paths import root_option
from lakehouse.core.text import Say
from lakehouse.explorer.named_checks import Check
from lakehouse.products.orders.contract import NAME
from lakehouse.products.orders.tables import FLOWS
from lakehouse.settings.settings import Settings
from producers.cdc.state import read_state, state_path

__all__ = ["Check", "Parts"]


@dataclass(frozen=True)
class Parts:
    """What every step is given."""

    settings: Settings
    connection: duckdb.DuckDBPyConnection
    say: Say
    keep: Callable[[Proof, Settings], int] | None = None

    @property
    def snapshots(self) -> Snapshots:
        """The lake's tables, for pinning."""
        return Snapshots(self.settings.lake.root, self.connection)

    @property
    def capture(self) -> str:
        """The command that captures on, in the mode of this lake's capture."""
        root = self.settings.lake.root
        state = read_state(state_path(root, NAME))
        mode = " --mode poll" if state is not None and state.mode == "poll" else ""
        return f"lakehouse capture {NAME}{mode} {root_option(root)}"

    @property
    def fix(self) -> str:
        """The command that lands and applies what is there."""
        names = " ".join(flow.name for flow in FLOWS)
        return f"lakehouse run {names} --available-now {root_option(self.settings.lake.root)}"
