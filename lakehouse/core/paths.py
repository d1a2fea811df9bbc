"""Where things lie under a lake's root."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Lake:
    """A lake's folders: ``bronze.sales`` is at ``<root>/bronze/sales``."""

    root: str

    @property
    def is_local(self) -> bool:
        """Whether the root is a folder of this machine, and not a URI such as s3://."""
        return "://" not in self.root

    def table(self, name: str) -> str:
        """The path or URI of a table by its name."""
        layer, _, table = name.partition(".")
        return self.join(layer, table)

    def checkpoint(self, flow: str) -> str:
        """The checkpoint folder of a flow that reads Kafka."""
        return self.join("_checkpoints", flow)

    @property
    def locks(self) -> Path:
        """The folder of the writers' locks."""
        return Path(self.root).absolute() / "_locks"

    def join(self, *parts: str) -> str:
        """A path below the root."""
        if self.is_local:
            return str(Path(self.root).absolute().joinpath(*parts))
        return "/".join([self.root.rstrip("/"), *parts])


def own_command() -> str:
    """``lakehouse`` as this shell finds it, for what is printed to be typed."""
    if shutil.which("lakehouse"):
        return "lakehouse"
    return os.path.relpath(Path(sys.executable).with_name("lakehouse"))
