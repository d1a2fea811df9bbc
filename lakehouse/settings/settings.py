"""Settings: config.ini and the environment, read once, into frozen typed values.

``load`` is called at the edge (a command, a job); everything else is given a
:class:`Settings`. The environment wins over the file, the file over the
defaults seen here. Every fault is reported at once, each with its place and
remedy. Secrets come from the environment or from a file that a key names, and
print as asterisks; one in config.ini is a fault.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from lakehouse.core import failpoint
from lakehouse.core.errors import SettingsError
from lakehouse.settings.names import FREE_SECTIONS, SECTIONS
from lakehouse.settings.reading import (
    apply_environment,
    fault_of,
    find_config,
    read_file,
    shared_topics,
)
from lakehouse.settings.sections import (
    BronzeSettings,
    CapturedSettings,
    DashboardSettings,
    ExplorerSettings,
    KafkaSettings,
    LakeSettings,
    LineageSettings,
    LoggingSettings,
    MaintenanceSettings,
    MetricsSettings,
    PostgresSettings,
    ProductSettings,
    PublishSettings,
    Section,
    ServicesSettings,
    SilverSettings,
    SparkSettings,
    StreamSettings,
    TableSettings,
)

S = TypeVar("S", bound=ProductSettings)


class Settings(BaseModel):
    """All settings of one process; frozen.

    ``products`` maps a product's name to its section; ``product(name)`` looks
    one up with a clear error.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    lake: LakeSettings = Field(default_factory=LakeSettings)
    kafka: KafkaSettings = Field(default_factory=KafkaSettings)
    postgres: PostgresSettings = Field(default_factory=PostgresSettings)
    services: ServicesSettings = Field(default_factory=ServicesSettings)
    stream: StreamSettings = Field(default_factory=StreamSettings)
    bronze: BronzeSettings = Field(default_factory=BronzeSettings)
    publish: PublishSettings = Field(default_factory=PublishSettings)
    silver: SilverSettings = Field(default_factory=SilverSettings)
    table: TableSettings = Field(default_factory=TableSettings)
    maintenance: MaintenanceSettings = Field(default_factory=MaintenanceSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    explorer: ExplorerSettings = Field(default_factory=ExplorerSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    lineage: LineageSettings = Field(default_factory=LineageSettings)
    dashboard: DashboardSettings = Field(default_factory=DashboardSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)
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

    def changed(self, **sections: Mapping[str, Any]) -> Settings:
        """The same settings, with some keys of sections changed, products' too; none is checked."""
        of = {name: self.products.get(name) or getattr(self, name) for name in sections}
        new = {name: of[name].model_copy(update=keys) for name, keys in sections.items()}
        products = {name: new.pop(name, section) for name, section in self.products.items()}
        return self.model_copy(update={**new, "products": products})

    def with_kafka(self, bootstrap_servers: str) -> Settings:
        """The same settings, speaking to another broker."""
        return self.changed(kafka={"bootstrap_servers": bootstrap_servers})

    def with_postgres(self, url: str) -> Settings:
        """The same settings, speaking to another database."""
        return self.changed(postgres={"url": url})

    def with_root(self, root: Path) -> Settings:
        """The same settings, on another lake; SettingsError where that is no path."""
        try:
            lake = LakeSettings(root=str(root), access=self.lake.access)
        except ValidationError as error:
            fault = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise SettingsError("--root", fault, "name the lake's folder") from None
        return self.model_copy(update={"lake": lake})


def sections(products: Mapping[str, type[ProductSettings]]) -> dict[str, type[Section]]:
    """Every section with typed keys, by its name in config.ini."""
    shared = {name: Settings.model_fields[name].annotation for name in SECTIONS}
    return {**cast("dict[str, type[Section]]", shared), **products}


def secret(given: SecretStr | None, path: str, place: str) -> str:
    """A secret from the environment, or from the file that ``path`` names.

    SettingsError with ``place``, the key that names the file, where it cannot be read.
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
    steps: Collection[str] = (),
    absent: Collection[str] = (),
) -> Settings:
    """Read config.ini and the environment, or raise one SettingsError naming every fault.

    ``steps`` are the failpoints that the environment may name; without them any. ``absent`` are
    products that are left out: what is set for them is passed over.
    ``path`` defaults to ``$LAKEHOUSE_CONFIG``, then ``./config.ini``, then the
    config.ini beside the installed package.
    """
    env = os.environ if environment is None else environment
    typed = sections(products)
    found = find_config(path, env)
    raw, faults = read_file(found, typed, absent)
    faults += apply_environment(raw, env, typed, absent)
    faults += filter(None, [failpoint.fault(env, steps)])
    values: dict[str, Any] = {"products": {}}
    for name, section in typed.items():
        try:
            built = section(**raw.pop(name, {}))
        except ValidationError as error:
            faults += [fault_of(found, name, section, dict(e), env) for e in error.errors()]
            continue
        if name in products:
            values["products"][name] = built
        else:
            values[name] = built
    for name, field in FREE_SECTIONS.items():
        values[field] = raw.pop(name, {})
    faults += shared_topics(values["products"])
    if faults:
        raise SettingsError(
            str(found),
            f"{len(faults)} fault{'s' if len(faults) > 1 else ''}\n"
            + "\n".join(f"  - {f}" for f in faults),
            "mend these keys; docs/settings.md lists every key, its type and its default",
        )
    return Settings(**values)


SettingsOf = Callable[[Path | None, Path | None], Settings]
"""config.ini and root, as options give them → settings."""
Service = Callable[[Settings], AbstractContextManager[Settings]]
"""Settings → settings that name a running service, given or started here."""
