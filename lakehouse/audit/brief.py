"""An audit in a few lines, for a demo that ends with it: the same proof, the same words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime

from lakehouse.audit.extent import Content
from lakehouse.audit.proof import Proof
from lakehouse.audit.run import audit, broker_of
from lakehouse.audit.show import reasons
from lakehouse.core.errors import Exit
from lakehouse.core.text import Say
from lakehouse.settings.settings import Settings


def audited(
    product: str, settings: Settings, say: Say, keep: Callable[[Proof, Settings], int]
) -> Exit:
    """Audit a product now, all content; ``keep`` it, write the verdict on stdout; its exit code."""
    broker = broker_of(settings, product)
    proof = audit(product, settings, broker, datetime.now(UTC), say, Content.ALL)
    keep(proof, settings)
    sys.stdout.write("".join(f"{line}\n" for line in (proof.headline, *reasons(proof))))
    return proof.verdict.exit_code
