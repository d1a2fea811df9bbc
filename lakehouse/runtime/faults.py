"""What Spark and its JVM raise, as our own errors: a Java stack tells an operator nothing more."""

from __future__ import annotations

import re

from lakehouse.core.errors import LakehouseError, ServiceUnavailable, disk_full
from lakehouse.core.text import one_line
from lakehouse.settings.kafka_client import unreachable
from lakehouse.settings.settings import Settings

_MEMORY = re.compile(r"OutOfMemory\w*|GC overhead limit|unable to create (new )?native thread")
_BROKER = re.compile(
    r"org\.apache\.kafka\.common\.errors\.(\w*Timeout|\w*Disconnect|Retriable|\w*NotAvailable|"
    r"NotLeaderOrFollower|NotEnoughReplicas)\w*Exception|Cannot fetch record for offset|"
    r"Failed to create new KafkaAdminClient|No resolvable bootstrap urls"
)
_JAVA = re.compile(r"^: [\w.$]+: (.+?)(?=\n\s+at |\Z)", re.M | re.S)
"""What a Java exception says, before its stack."""
_DISK = re.compile(r"No space left on device|Disk quota exceeded")


def in_words(error: BaseException, settings: Settings) -> LakehouseError | None:
    """A fault of memory, broker or disk as a person reads it; None where it is another."""
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, LakehouseError):
        return error
    if isinstance(error, MemoryError) or _MEMORY.search(said):
        return ServiceUnavailable(
            "memory",
            f"ran out: {_line(said, _MEMORY)}",
            f"raise [spark] driver_memory ({settings.spark.driver_memory}; executors: "
            "spark.executor.memory), or lower [stream] max_records_per_batch and max_mb_per_batch",
        )
    if _BROKER.search(said):
        return unreachable(settings.kafka, _line(said, _BROKER))
    if _DISK.search(said):
        return disk_full(settings.lake.root)
    return None


def not_started(error: BaseException) -> LakehouseError:
    """Why Spark's JVM did not become a session: a setting of [spark] or [spark.conf], mostly."""
    told = _JAVA.search(str(error))
    fault = one_line(told[1], 300) if told else "its JVM ended as it started: see above"
    return LakehouseError(
        "Spark", f"does not start: {fault}",
        "mend [spark] driver_memory and master, and [spark.conf]; then lakehouse doctor",
    )  # fmt: skip


def _line(text: str, pattern: re.Pattern[str]) -> str:
    """The line that tells the cause, without the names of Java's packages."""
    line = next((line for line in text.splitlines() if pattern.search(line)), text[:200])
    return re.sub(r"\b[a-z_]+(\.[a-z_]+)+\.(?=[A-Z])", "", line).strip()[:300]
