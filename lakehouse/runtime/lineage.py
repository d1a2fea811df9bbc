"""Which flow reads and writes what, as OpenLineage events, where [lineage] url says who asks.

Each run of a flow begins and ends with an event. Who is away, or refuses one, is told of in the
log, and holds nothing up.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.paths import Lake
from lakehouse.model.flow import BronzeFlow, Flow
from lakehouse.model.sink import KafkaSink, PostgresSink
from lakehouse.settings.settings import Settings
from lakehouse.sinks.kafka_records import topic_of

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent
    from openlineage.client.facet_v2 import DatasetFacet, RunFacet
    from openlineage.client.transport.http import HttpTransport

NAMESPACE = "lakehouse"
_PRODUCER = "urn:lakehouse"
_WAIT = 5.0
"""Seconds that an event may take, and that the last ones are waited for."""
log = structlog.get_logger("lakehouse")


@contextmanager
def lineage(flows: Sequence[Flow], settings: Settings) -> Iterator[None]:
    """Tell of the run of these flows; does nothing without [lineage] url.

    ServiceUnavailable where the client is not installed.
    """
    if not settings.lineage.url:
        yield
        return
    told = _Told(flows, settings)
    told.say("START")
    try:
        yield
    except BaseException as error:
        told.say("FAIL" if isinstance(error, Exception) else "ABORT", str(error))
        raise
    else:
        told.say("COMPLETE")
    finally:
        told.wait()


class _Told:
    """One run of each flow; events are sent one after the other, beside the flows."""

    def __init__(self, flows: Sequence[Flow], settings: Settings) -> None:
        self._transport = _transport(settings.lineage.url)
        from openlineage.client.uuid import generate_new_uuid  # noqa: PLC0415  # an extra

        self._flows, self._settings = flows, settings
        self._runs = {flow.name: str(generate_new_uuid()) for flow in flows}
        self._last: threading.Thread | None = None

    def say(self, state: str, fault: str = "") -> None:
        """Send an event of each flow, once those before it are sent."""
        events = [self._event(flow, state, fault) for flow in self._flows]
        before = self._last

        def send() -> None:
            if before is not None:
                before.join()
            for event in events:
                try:
                    self._transport.emit(event)
                except Exception as error:  # noqa: BLE001  # whatever its HTTP client raises
                    log.warning("lineage is not told", url=self._settings.lineage.url,
                                reason=str(error)[:200])  # fmt: skip
                    return

        self._last = threading.Thread(target=send, daemon=True)
        self._last.start()

    def wait(self) -> None:
        """Wait for what is on its way, for a while."""
        if self._last is not None:
            self._last.join(_WAIT)

    def _event(self, flow: Flow, state: str, fault: str) -> RunEvent:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState  # noqa: PLC0415
        from openlineage.client.facet_v2 import error_message_run  # noqa: PLC0415

        facets: dict[str, RunFacet] = {}
        if fault:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(fault, "python")
        reads, writes = _datasets(flow, self._settings)
        return RunEvent(
            eventType=RunState[state], eventTime=datetime.now(UTC).isoformat(),
            run=Run(self._runs[flow.name], facets), job=Job(NAMESPACE, flow.name),
            producer=_PRODUCER, inputs=reads, outputs=writes,
        )  # fmt: skip


def _datasets(flow: Flow, settings: Settings) -> tuple[list[InputDataset], list[OutputDataset]]:
    """What a flow reads and writes, named as OpenLineage names Kafka, files and Postgres."""
    from openlineage.client.event_v2 import InputDataset, OutputDataset  # noqa: PLC0415
    from openlineage.client.facet_v2 import schema_dataset  # noqa: PLC0415

    lake, kafka = Lake(settings.lake.root), f"kafka://{settings.kafka.bootstrap_servers}"
    bronze = f"bronze.{flow.product}"
    fields = [
        schema_dataset.SchemaDatasetFacetFields(field.name, str(field.type))
        for field in flow.contract.schema
    ]

    def table(name: str) -> tuple[str, str]:
        return "file", str(Path(lake.table(name)).absolute())

    if isinstance(flow, BronzeFlow):
        schema: dict[str, DatasetFacet] = {"schema": schema_dataset.SchemaDatasetFacet(fields)}
        topic = settings.product(flow.product).topic
        return (
            [InputDataset(kafka, topic)],
            [
                OutputDataset(*table(bronze), facets=schema),
                OutputDataset(*table(f"quarantine.{flow.product}")),
            ],
        )
    if isinstance(flow, PostgresSink):
        reads = [InputDataset(*table(one.source)) for one in flow.into]
        writes = [OutputDataset("postgres", flow.place(one)) for one in flow.into]
        return reads, writes
    if isinstance(flow, KafkaSink):
        return [InputDataset(*table(bronze))], [OutputDataset(kafka, topic_of(flow, settings))]
    return [InputDataset(*table(bronze))], [OutputDataset(*table(name)) for name in flow.tables]


def _transport(url: str) -> HttpTransport:
    try:
        from openlineage.client.transport.http import HttpConfig, HttpTransport  # noqa: PLC0415
    except ModuleNotFoundError:
        raise ServiceUnavailable(
            "[lineage] url", "needs a package that is not installed",
            "pip install 'lakehouse[lineage]', or leave the setting empty",
        ) from None  # fmt: skip
    return HttpTransport(HttpConfig(url=url, timeout=_WAIT, retry={"total": 0}))
