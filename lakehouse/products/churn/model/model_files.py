"""The files of models: a version is written whole, and what is read may be a stranger's."""

from __future__ import annotations

import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import msgspec

from lakehouse.core.files import sync, write_whole
from lakehouse.core.within import Within
from lakehouse.products.churn.model.card import Card
from lakehouse.products.churn.model.encoding import TRAIN_AGAIN, ModelRefused

T = TypeVar("T")


class ModelFiles:
    """The folder of models, which has a folder for each version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, version: str, files: dict[str, bytes]) -> None:
        """Write the files of a new version: all of them, or after a crash none."""
        for left in self._folder.glob(".*.part"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        part = self._folder / f".{version}.part"
        part.mkdir()
        for name, data in files.items():
            write_whole(part / name, data)
        os.rename(part, self._folder / version)  # noqa: PTH104  # a folder that is there is an error
        sync(self._folder)

    def of(self, card: Card, name: str) -> bytes:
        """One file of a version; ModelRefused where it is not the one that the card says."""
        data = self._read(f"{card.version}/{name}")
        if sha256(data).hexdigest() != card.files.get(name):
            raise self.refused(card.version, f"{name} is not the file that was saved")
        return data

    def decoded(self, name: str, kind: type[T]) -> T:
        """A JSON file of the folder; ModelRefused where it is damaged."""
        try:
            return msgspec.json.decode(self._read(name), type=kind)
        except msgspec.MsgspecError as error:
            raise ModelRefused(
                str(self._folder / name), f"is damaged: {error}", TRAIN_AGAIN
            ) from None

    def _read(self, name: str) -> bytes:
        try:
            return Within.of(self._folder, name).data()
        except OSError as error:
            raise ModelRefused(
                str(self._folder / name), f"cannot be read: {error.strerror}", TRAIN_AGAIN
            ) from None

    def refused(self, version: str, fault: str) -> ModelRefused:
        """The error of a version that is of no use."""
        return ModelRefused(self.place(version), fault, TRAIN_AGAIN)

    def place(self, version: str) -> str:
        """A version, as messages name it."""
        return f"model {version} in {self._folder}"
