"""Versions of the model under ``<root>/models/churn``: written whole, checked before they are used.

Worked example. ``A`` is promoted, and B is saved and promoted.

- Before: ``promoted.json`` says A. B's files are written in ``.B.part``, each of them synced.
- Crash here: ``A`` scores on; the next save removes ``.B.part``.
- The folder is renamed to ``B``. Crash here: B is there, and A still scores.
- ``promoted.json`` is replaced by one that says B, and A before it. What scores asks for it again
  and again, and takes B up; ``rollback`` puts A in B's place.

What a folder holds may be a stranger's: its files have the sums that the card says, the card
says features of the contract, and a pipeline is loaded only where each type that it names
is in :data:`TRUSTED`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lakehouse.core.errors import TableMissing, UsageError, writing
from lakehouse.core.files import sync, write_whole
from lakehouse.core.lock import one_at_a_time
from lakehouse.core.paths import Lake
from lakehouse.products.churn.model.card import Card, markdown
from lakehouse.products.churn.model.encoding import TRAIN_AGAIN, ModelRefused, check_features
from lakehouse.products.churn.model.model_files import ModelFiles

if TYPE_CHECKING:
    from lakehouse.products.churn.model.scoring import Scorer
    from lakehouse.products.churn.model.training import Trained

TRUSTED = ("sklearn.tree._tree.Tree",)
"""Types that a pipeline of ours has besides those that skops itself trusts."""
PIPELINE, GRAPH, CARD, READABLE = "model.skops", "model.onnx", "card.json", "card.md"
_PROMOTED = "promoted.json"
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
_MOST_UNPACKED = 256 * 2**20
_MOST_BEFORE = 100


class Promoted(msgspec.Struct, frozen=True):
    """The version that scores, and those that did before it, the last one last."""

    version: str
    before: tuple[str, ...] = ()


class Models:
    """The versions of one lake."""

    def __init__(self, root: str) -> None:
        self._lake = Lake(root)
        self.folder = Path(self._lake.join("models", "churn"))
        self._files = ModelFiles(self.folder)

    def versions(self) -> list[str]:
        """The names of all versions, the oldest first."""
        if not self.folder.is_dir():
            return []
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return sorted(name for name in names if _VERSION.fullmatch(name))

    def card(self, version: str) -> Card:
        """A version's card; UsageError where there is no such version, or ModelRefused."""
        if not _VERSION.fullmatch(version) or not (self.folder / version).is_dir():
            raise UsageError(
                f"model {version}", f"is not among the models of {self.folder}",
                "name one that `lakehouse churn models` lists",
            )  # fmt: skip
        card = self._files.decoded(f"{version}/{CARD}", Card)
        if card.version != version:
            raise self._files.refused(version, f"its card is of version {card.version!r}")
        check_features(card.features, f"model {version}")
        return card

    def promoted(self) -> Promoted | None:
        """The version that scores; None where none is promoted yet."""
        if not (self.folder / _PROMOTED).exists():
            return None
        return self._files.decoded(_PROMOTED, Promoted)

    def current(self) -> str:
        """The promoted version's name; TableMissing where there is none."""
        found = self.promoted()
        if found is None:
            raise TableMissing(
                "the model of churn", "no version is promoted yet",
                "lakehouse churn train, or lakehouse churn promote VERSION",
            )  # fmt: skip
        return found.version

    def scorer(self, version: str) -> Scorer:
        """A version, ready to score; ModelRefused where its files are not what they must be."""
        from lakehouse.products.churn.model.scoring import Scorer  # noqa: PLC0415  # loads ONNX

        card = self.card(version)
        return Scorer(card, self._files.of(card, GRAPH), f"model {version}")

    def pipeline(self, version: str) -> Any:
        """A version's pipeline of scikit-learn, as it was trained; ModelRefused as above."""
        card = self.card(version)
        found = _trusted(self._files.of(card, PIPELINE), self._files.place(version))
        names = [feature.name for feature in card.features]
        if sorted(getattr(found, "feature_names_in_", ())) != sorted(names):
            raise self._files.refused(version, f"{PIPELINE} does not take the card's features")
        return found

    def save(self, trained: Trained) -> Card:
        """Keep a version; again changes nothing. Removes what a crash left of others."""
        files = {PIPELINE: trained.pipeline, GRAPH: trained.graph}
        sums = {name: sha256(data).hexdigest() for name, data in files.items()}
        card = msgspec.structs.replace(trained.card, files=sums)
        files[CARD] = msgspec.json.format(msgspec.json.encode(card), indent=2)
        files[READABLE] = markdown(card).encode()
        with self._alone():
            if not (self.folder / card.version).exists():
                self._files.write(card.version, files)
        return card

    def promote(self, version: str) -> Promoted:
        """Let a version score, once it is known to be whole, and to be the one that was trained."""
        self.check(version)
        with self._alone():
            now = self.promoted()
            if now and now.version == version:
                return now
            before = (*now.before, now.version)[-_MOST_BEFORE:] if now else ()
            return self._promote(Promoted(version, before))

    def rollback(self) -> Promoted:
        """Let the version score that did before; UsageError where there is none."""
        with self._alone():
            now = self.promoted()
            if now is None or not now.before:
                raise UsageError(
                    "the model of churn", "no other version was promoted before",
                    "lakehouse churn models lists what there is; promote one",
                )  # fmt: skip
            self.check(now.before[-1])
            return self._promote(Promoted(now.before[-1], now.before[:-1]))

    def check(self, version: str) -> None:
        """ModelRefused where the files of a version are damaged, poisoned or not of one model."""
        from lakehouse.products.churn.model.drawn import check_same  # noqa: PLC0415  # as above

        check_same(self.pipeline(version), self.scorer(version), self._files.place(version))

    def _promote(self, promoted: Promoted) -> Promoted:
        write_whole(self.folder / _PROMOTED, msgspec.json.encode(promoted))
        return promoted

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time writes; DiskFull where there is no room."""
        with writing(self.folder):
            if not self.folder.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                sync(self.folder.parent)
                sync(self.folder.parent.parent)
            with one_at_a_time(self._lake.locks / "models.churn.lock"):
                yield


def _trusted(data: bytes, place: str) -> Any:
    """What skops gives for a file that names no type but those that are trusted."""
    import skops.io  # noqa: PLC0415  # loads scikit-learn, which scoring does without

    try:
        with zipfile.ZipFile(BytesIO(data)) as packed:
            size = sum(one.file_size for one in packed.infolist())
        if size > _MOST_UNPACKED:
            raise ModelRefused(place, f"{PIPELINE} unpacks to {size:,} bytes", TRAIN_AGAIN)
        foreign = sorted({*skops.io.get_untrusted_types(data=data)} - {*TRUSTED})
        if foreign:
            raise ModelRefused(
                place, f"{PIPELINE} names types that no model of ours has: {', '.join(foreign)}",
                f"do not load it anywhere; {TRAIN_AGAIN}",
            )  # fmt: skip
        return skops.io.loads(data, trusted=list(TRUSTED))
    except ModelRefused:
        raise
    except Exception as error:  # noqa: BLE001  # a stranger's file can make a parser raise anything
        raise ModelRefused(
            place, f"{PIPELINE} is damaged: {type(error).__name__}: {str(error)[:200]}", TRAIN_AGAIN
        ) from None
