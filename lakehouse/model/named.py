"""What every flow has: the contract whose events it is about, and a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lakehouse.model.contract import Contract


@dataclass(frozen=True)
class NamedFlow:
    """A flow of one contract."""

    contract: Contract
    kind: ClassVar[str]

    @property
    def product(self) -> str:
        """What bronze is named by, and all that follows it: the contract's name."""
        return self.contract.name

    @property
    def name(self) -> str:
        """As given to ``lakehouse run``: ``shop.bronze``."""
        return f"{self.product}.{self.kind}"

    @property
    def tables(self) -> tuple[str, ...]:
        """The lake's tables that it writes, and therefore locks; a sink writes none."""
        return ()
