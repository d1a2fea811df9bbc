"""What a product is: one domain, declared in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.model.contract import Contract
from lakehouse.model.flow import Flow


@dataclass(frozen=True)
class Product:
    """A product as the engine sees it; making one runs nothing and loads nothing.

    Modules are named, as in ``"mypackage.report"``, and loaded when they are asked for.
    All but ``name``, ``contracts`` and ``flows`` may be left out. ``docs/your-own-product.md``
    shows a whole one.
    """

    name: str
    """Lower case, as in ``lakehouse audit NAME``; a section of config.ini has it too."""
    contracts: tuple[Contract, ...]
    """What its topics hold; the first has the product's name."""
    flows: tuple[Flow, ...]
    settings: type | str | Mapping[str, type | str] = ""
    """Class of its section, a ProductSettings, or where it is: ``"mypackage.settings:Mine"``,
    loaded when settings are read; or contract → such a class, where there are several. A
    contract without one has its name for topic."""
    recompute: str = ""
    """Module of :mod:`lakehouse.model.recompute`; of a contract that it does not name the audit
    evaluates the declared SQL whole over bronze, and says so."""
    audit: str = ""
    """Module with ``CHECKS``, name → function of a :class:`lakehouse.audit.check.Scene` that gives
    a Check: what the audit asks of this product, each of its contracts, besides; and, where
    it has one, ``SOURCE``, another such function: ``--source`` asks what events came from."""
    report: str = ""
    """Module with ``REPORT``, section → SELECT; and, where it has them, ``TITLES``, section →
    words, and ``views(as_of)`` and ``views_of(settings)``, which give name → SELECT. Without
    a module the report has the product's aggregates and its quality."""
    source: str = ""
    """Module with ``live(settings, stop, rate, count)``, which feeds the topic until ``stop`` is
    set, or ``count`` records are sent; ``produce``, where there is one, has options of its own;
    ``prepare(settings)`` is called where the embedded Postgres was started."""
    steps: str = ""
    """Enum of the steps at which the crash matrix may end the source: ``"mypackage.steps:Step"``;
    see :mod:`lakehouse.core.failpoint`."""
    verbs: str = ""
    """Module with ``commands(settings_of, broker, database, say)``: verb → function or Typer."""
    demo: str = ""
    """Module with ``demo(stage)``: see :mod:`lakehouse.runtime.demo`."""
    checks: str = ""
    """Module with ``checks(settings)``, which yields :class:`lakehouse.doctor.check.Check` for
    ``lakehouse doctor``."""
    keeps_models: bool = False
    """Whether its verbs keep models in the lake, under ``models/NAME``: backups have them."""
    needs_postgres: bool = False
    """Whether its source reads [postgres]: the embedded one is started where none is named."""
    is_main: bool = False
    """Whether ``lakehouse demo`` and ``produce`` mean it where they name none."""

    @property
    def models(self) -> str:
        """The folder of its models, from the lake's root; empty where it keeps none."""
        return f"models/{self.name}" if self.keeps_models else ""

    @property
    def sections(self) -> Mapping[str, type | str]:
        """Contract → what ``settings`` says of its section; those without one are left out."""
        if isinstance(self.settings, Mapping):
            return self.settings
        return {self.name: self.settings} if self.settings else {}
