"""Kafka, as settings say it: options of kafka-python's clients, and topics."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic
from kafka.errors import BrokerResponseError, KafkaError, TopicAlreadyExistsError

from lakehouse.core.errors import ServiceAway, ServiceUnavailable, SettingsError
from lakehouse.settings.refusal import listening, refusal
from lakehouse.settings.sections import KafkaSettings, ProductSettings
from lakehouse.settings.settings import secret

BROKERS_DEFAULT = 1_048_588
"""A broker's own ``message.max.bytes``, where nobody set it."""
PROMPT_SECONDS = 2.0
"""After so long without a connection we ask whether waiting helps."""


class Hidden(str):
    """A secret that prints as asterisks: kafka-python logs its options at DEBUG."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Asterisks."""
        return "'**********'"


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for every kafka-python client: where, and how protected.

    SettingsError where a file that they name cannot be used.
    """
    wait = int(kafka.request_timeout.total_seconds() * 1000)
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": wait,
        "bootstrap_timeout_ms": wait,
    }
    if "SSL" in kafka.security_protocol:
        check_certificates(kafka)
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            if getattr(kafka, name):
                options[name] = getattr(kafka, name)
    if "SASL" in kafka.security_protocol:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": Hidden(password(kafka)),
        }
    return options


def reader_options(kafka: KafkaSettings) -> dict[str, Any]:
    """The same for librdkafka's clients. It holds the password: not for an argument list."""
    options: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": kafka.client_id,
        "security.protocol": kafka.security_protocol,
    }
    if "SSL" in kafka.security_protocol:
        check_certificates(kafka)
        files = {
            "ssl.ca.location": kafka.ssl_cafile,
            "ssl.certificate.location": kafka.ssl_certfile,
            "ssl.key.location": kafka.ssl_keyfile,
        }
        options |= {name: path for name, path in files.items() if path}
    if "SASL" in kafka.security_protocol:
        options |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.sasl_username,
            "sasl.password": password(kafka),
        }
    return options


def password(kafka: KafkaSettings) -> str:
    """The SASL password from the environment or its file."""
    place = "[kafka] sasl_password_file"
    return secret(kafka.sasl_password, kafka.sasl_password_file, place)


def check_certificates(kafka: KafkaSettings) -> None:
    """Load the PEM files as a client would; SettingsError names the one that does not do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if kafka.ssl_cafile:
        pem(kafka, "ssl_cafile", "CERTIFICATE")
        try:
            context.load_verify_locations(kafka.ssl_cafile)
        except (ssl.SSLError, ValueError) as error:
            raise _unusable("ssl_cafile", kafka.ssl_cafile, error) from None
    if kafka.ssl_certfile:
        pem(kafka, "ssl_certfile", "CERTIFICATE")
        pem(kafka, "ssl_keyfile", "PRIVATE KEY")
        try:
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
        except (ssl.SSLError, ValueError) as error:
            raise _unusable("ssl_certfile", kafka.ssl_certfile, error) from None


def pem(kafka: KafkaSettings, key: str, kind: str) -> str:
    """The text of the PEM file that ``key`` names, which holds a block of this kind."""
    path = str(getattr(kafka, key))
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(key, path, getattr(error, "strerror", None) or "not a PEM file") from None
    if f"-----BEGIN {kind}-----" not in text:
        raise _unusable(key, path, f"holds no '-----BEGIN {kind}-----'")
    return text


def _unusable(key: str, path: str, reason: object) -> SettingsError:
    remedy = "name a readable PEM file"
    if key == "ssl_keyfile":
        remedy += (
            ", in PKCS#8 without a passphrase: openssl pkcs8 -topk8 -nocrypt -in KEY -out FILE"
        )
    return SettingsError(f"[kafka] {key}", f"{path}: {reason}", remedy)


def admin(kafka: KafkaSettings) -> KafkaAdminClient:
    """A connected admin client, or ServiceUnavailable with what to do.

    It waits for the request timeout; but for a broker that refuses us, or an address where
    nobody listens, only as long as it takes to know.
    """
    options = client_options(kafka)
    is_one = "," not in kafka.bootstrap_servers
    left = kafka.request_timeout.total_seconds()
    wait = min(left, PROMPT_SECONDS)
    with listening() as heard:
        while True:
            try:
                return KafkaAdminClient(**{**options, "bootstrap_timeout_ms": int(wait * 1000)})
            except (KafkaError, OSError, ValueError) as error:
                left -= wait
                refused = refusal(kafka, heard)
                nobody = any("ECONNREFUSED" in text for text in heard)
                if nobody and is_one:
                    raise unreachable(kafka, "nobody listens there") from None
                if left <= 0 or (refused and not nobody):
                    raise refused or unreachable(kafka, error) from None
            wait = left


def unreachable(kafka: KafkaSettings, error: object) -> ServiceAway:
    """The error of a broker that does not answer."""
    return ServiceAway(
        f"Kafka at {kafka.bootstrap_servers}",
        f"no answer ({error})",
        "start the broker, or mend [kafka] bootstrap_servers and its security settings; "
        "leave bootstrap_servers empty for the embedded broker",
    )


@contextmanager
def answering(kafka: KafkaSettings) -> Iterator[None]:
    """The block; ServiceAway where the broker does not answer what it asks."""
    try:
        yield
    except (KafkaError, OSError) as error:
        raise unreachable(kafka, error) from None


def offsets_by(
    ask: Callable[[list[TopicPartition]], dict[TopicPartition, int]],
    partitions: Iterable[TopicPartition],
    kafka: KafkaSettings,
) -> dict[TopicPartition, int]:
    """What a client's ``beginning_offsets`` or ``end_offsets`` tells of partitions.

    ServiceAway where it has not heard of one: the topic was made, or got partitions, just now.
    """
    try:
        return ask([*partitions])
    except KeyError as unheard:
        raise ServiceAway(
            f"Kafka at {kafka.bootstrap_servers}", f"does not tell yet what is in {unheard}",
            "wait: the topic was made, or got partitions, just now",
        ) from None  # fmt: skip


def ensure_topic(kafka: KafkaSettings, product: ProductSettings) -> str:
    """Make the product's topic where it is missing; give its topic id."""
    topic = NewTopic(
        name=product.topic,
        num_partitions=product.partitions,
        replication_factor=product.replication_factor,
        topic_configs={
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(int(product.topic_retention.total_seconds() * 1000)),
            "max.message.bytes": str(product.max_message_mb * 2**20),
        },
    )
    return _ensure(kafka, topic)


def ensure_compacted(kafka: KafkaSettings, name: str, replication_factor: int) -> str:
    """Make a topic of one partition that keeps the last record of each key; give its topic id."""
    configs = {"cleanup.policy": "compact", "segment.ms": "3600000", "segment.bytes": "8388608"}
    return _ensure(kafka, NewTopic(name, 1, replication_factor, topic_configs=configs))


def _ensure(kafka: KafkaSettings, topic: NewTopic) -> str:
    client = admin(kafka)
    try:
        known = _topic_id(client, topic.name)
        if known is not None:
            return known
        try:
            client.create_topics([topic])
        except TopicAlreadyExistsError:
            pass  # another process made it in between: the same topic
        return _described(client, kafka, topic.name)
    except BrokerResponseError as error:
        if error.retriable:
            raise unreachable(kafka, error) from None
        told = re.search(r"error_message=(['\"])(.+?)\1", str(error))
        raise ServiceUnavailable(
            f"topic {topic.name}",
            f"Kafka at {kafka.bootstrap_servers} answers {type(error).__name__}"
            + (f": {told.group(2)}" if told else ""),
            "mend the product's partitions and replication_factor, or the user's rights there",
        ) from None
    except KafkaError as error:
        raise unreachable(kafka, error) from None
    finally:
        client.close()


def message_limit(kafka: KafkaSettings, topic: str) -> int:
    """Most bytes that a batch of records of this topic may have, as the broker says.

    Its default where the broker lets us not see the topic's settings.
    """
    with answering(kafka), closing(admin(kafka)) as client:
        try:
            return int(topic_settings(client, topic)["max.message.bytes"]["value"])
        except (BrokerResponseError, KeyError):
            return BROKERS_DEFAULT


def topic_settings(client: KafkaAdminClient, topic: str) -> Any:
    """Name → what the broker says of a setting of the topic, such as its ``value``."""
    asked = ConfigResource(ConfigResourceType.TOPIC, topic)
    return next(iter(client.describe_configs([asked], config_filter="all").values()))[topic]


def _described(client: KafkaAdminClient, kafka: KafkaSettings, topic: str) -> str:
    """The id of a topic just made: a broker may tell of it only a moment later."""
    deadline = time.monotonic() + kafka.request_timeout.total_seconds()
    while (known := _topic_id(client, topic)) is None:
        if time.monotonic() > deadline:
            raise ServiceUnavailable(
                f"topic {topic}",
                f"was made, but {kafka.bootstrap_servers} does not tell of it",
                "look at the broker's log, or raise [kafka] request_timeout",
            )
        time.sleep(0.05)
    return known


def _topic_id(client: KafkaAdminClient, topic: str) -> str | None:
    for found in client.describe_topics([topic]):
        if found["name"] == topic and found.get("error_code", 0) == 0:
            return str(found["topic_id"])
    return None
