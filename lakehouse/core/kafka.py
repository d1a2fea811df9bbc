"""Kafka, as settings say it: client options for kafka-python and for Spark, and topics."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.core.sections import KafkaSettings, ProductSettings
from lakehouse.core.settings import secret


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments for every kafka-python client: where, and how protected."""
    wait = int(kafka.request_timeout.total_seconds() * 1000)
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": kafka.client_id,
        "security_protocol": kafka.security_protocol,
        "request_timeout_ms": wait,
        "bootstrap_timeout_ms": wait,
    }
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if getattr(kafka, name):
            options[name] = getattr(kafka, name)
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": password(kafka),
        }
    return options


def password(kafka: KafkaSettings) -> str:
    """The SASL password from the environment or its file."""
    return secret(kafka.sasl_password, kafka.sasl_password_file, "[kafka] sasl_password_file") or ""


def admin(kafka: KafkaSettings) -> KafkaAdminClient:
    """A connected admin client, or ServiceUnavailable with what to do."""
    try:
        return KafkaAdminClient(**client_options(kafka))
    except (KafkaError, OSError, ValueError) as error:
        raise unreachable(kafka, error) from None


def unreachable(kafka: KafkaSettings, error: object) -> ServiceUnavailable:
    """The error of a broker that does not answer."""
    return ServiceUnavailable(
        f"Kafka at {kafka.bootstrap_servers}",
        f"no answer ({error})",
        "start the broker, or mend [kafka] bootstrap_servers and its security settings; "
        "leave bootstrap_servers empty for the embedded broker",
    )


def ensure_topic(kafka: KafkaSettings, product: ProductSettings) -> str:
    """Make the product's topic where it is missing; give its topic id."""
    client = admin(kafka)
    try:
        known = {t["name"]: t for t in _describe(client, product.topic)}
        if product.topic not in known:
            topic = NewTopic(
                name=product.topic,
                num_partitions=product.partitions,
                replication_factor=product.replication_factor,
                topic_configs={
                    "message.timestamp.type": "LogAppendTime",
                    "retention.ms": str(int(product.topic_retention.total_seconds() * 1000)),
                },
            )
            try:
                client.create_topics([topic])
            except TopicAlreadyExistsError:
                pass  # another process made it in between: the same topic
            known = {t["name"]: t for t in _describe(client, product.topic)}
        return str(known[product.topic]["topic_id"])
    except KafkaError as error:
        raise unreachable(kafka, error) from None
    finally:
        client.close()


def _describe(client: KafkaAdminClient, topic: str) -> list[dict[str, Any]]:
    return [t for t in client.describe_topics([topic]) if t.get("error_code", 0) == 0]
