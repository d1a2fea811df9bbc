"""A backup's manifest: what it says of itself, each claim looked at before it is used."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import msgspec

from lakehouse.core.errors import LakehouseError
from lakehouse.core.paths import check_folder
from lakehouse.core.within import Outside, Within
from lakehouse.products.registry import models

MANIFEST = "manifest.json"
"""Written last: a backup without it is not whole."""


class Claim(msgspec.Struct, frozen=True):
    """What a manifest says of a file."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    made_at: str
    tables: dict[
        Annotated[str, msgspec.Meta(pattern=r"^[^\W_][\w-]*\.[\w-][\w .-]*\Z", max_length=200)],
        Annotated[int, msgspec.Meta(ge=0)],
    ]
    files: dict[Annotated[str, msgspec.Meta(max_length=4096)], Claim]

    def folders(self) -> set[str]:
        """The folders of tables and of models that its files lie in."""
        return {"/".join(Path(name).parts[:2]) for name in self.files}


def read_manifest(source: Path) -> Manifest:
    """What the backup says of itself: claims, of which each is looked at before it is used."""
    check_folder(str(source))
    try:
        manifest = msgspec.json.decode(Within(source, MANIFEST).data(), type=Manifest)
    except FileNotFoundError:
        raise not_whole(source / MANIFEST, "is not there") from None
    except (msgspec.DecodeError, ValueError, RecursionError, OSError, Outside):
        raise not_whole(source / MANIFEST, "cannot be read") from None
    folders = {name.replace(".", "/", 1) for name in manifest.tables}
    known = folders | models()
    for name, told in sorted(manifest.files.items()):
        if not _is_file_of(source, name, told, known):
            raise not_whole(source / name, "is not a file of the backup")
    if lacking := folders - manifest.folders():
        raise not_whole(source / min(lacking), "has no file in the manifest")
    return manifest


def _is_file_of(source: Path, name: str, told: Claim, folders: set[str]) -> bool:
    """Whether a file of that size is there, in the folder of a table or of models."""
    try:
        with Within.of(source, name).read() as file:
            size = os.fstat(file.fileno()).st_size
    except (OSError, Outside):
        return False
    return size == told.bytes and "/".join(Path(name).parts[:2]) in folders


def not_whole(place: Path, fault: str) -> LakehouseError:
    return LakehouseError(str(place), fault, "name the folder of a backup that is whole")
