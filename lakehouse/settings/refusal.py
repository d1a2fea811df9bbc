"""Why a broker that answers refuses us, and which key to mend.

kafka-python tries again until its time is over and then says only that it could
not bootstrap; what each try met is in its log, and is listened to here.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lakehouse.core.errors import ServiceUnavailable
from lakehouse.settings.sections import KafkaSettings

_CREDENTIALS = (
    "mend [kafka] sasl_username, sasl_mechanism and the password "
    "(LAKEHOUSE_KAFKA_SASL_PASSWORD or sasl_password_file)"
)
_CERTIFICATE = "name a certificate that the broker trusts in [kafka] ssl_certfile and ssl_keyfile"
_PROTOCOL = "mend [kafka] security_protocol, or the port in bootstrap_servers"

_REFUSALS: tuple[tuple[str, str, str, str], ...] = (
    (r"", r"SaslAuthenticationFailed|UnsupportedSaslMechanism|IllegalSaslState",
     "refuses user {user!r} by {mechanism}", _CREDENTIALS),
    (r"SSL", r"(Hostname|IP address) mismatch",
     "its certificate is for another name ({reason})",
     "name the broker in [kafka] bootstrap_servers as its certificate does"),
    (r"SSL", r"CERTIFICATE_VERIFY_FAILED",
     "its certificate is not trusted ({reason})",
     "name the PEM file of the authority that signed it in [kafka] ssl_cafile"),
    (r"SSL", r"ALERT_(BAD|UNKNOWN|UNSUPPORTED)_C|UNKNOWN_CA|CERTIFICATE_REQUIRED",
     "refuses the client's certificate, or that there is none ({reason})", _CERTIFICATE),
    (r"SSL", r"Handshake failed",
     "does not speak TLS ({reason})", _PROTOCOL),
    (r"PLAINTEXT", r"InvalidReceiveError",
     "speaks TLS, or something that is not Kafka, and security_protocol is {protocol}", _PROTOCOL),
    # kafka-python loses the broker's last words when TLS closes right behind them
    (r"SASL", r"socket disconnected",
     "hangs up while user {user!r} is proven by {mechanism}: a wrong password or mechanism",
     _CREDENTIALS),
    (r"", r"socket disconnected",
     "hangs up on a client that speaks {protocol}", _PROTOCOL),
)  # fmt: skip
"""Protocol and what was met, as patterns, to fault and remedy; the first that fits holds."""


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the exceptions that a record tells of."""
        words = record.args if isinstance(record.args, tuple) else ()
        self.heard += [f"{type(e).__name__}: {e}" for e in words if isinstance(e, BaseException)]


@contextmanager
def listening() -> Iterator[list[str]]:
    """What kafka-python's connections meet meanwhile; the list grows."""
    logger, listener = logging.getLogger("kafka.net"), _Listener()
    logger.addHandler(listener)
    try:
        yield listener.heard
    finally:
        logger.removeHandler(listener)


def refusal(kafka: KafkaSettings, heard: Sequence[str]) -> ServiceUnavailable | None:
    """The error of a broker that will not let these settings in; None where waiting may help."""
    for protocol, pattern, fault, remedy in _REFUSALS:
        met = next((text for text in heard if re.search(pattern, text)), None)
        if met is not None and protocol in kafka.security_protocol:
            told = re.search(r"(?:failed: |\] )([^][]*?) ?(?:\(_ssl\.c:\d+\))?$", met)
            words = {
                "user": kafka.sasl_username,
                "mechanism": kafka.sasl_mechanism,
                "protocol": kafka.security_protocol,
                "reason": told.group(1) if told else met,
            }
            place = f"Kafka at {kafka.bootstrap_servers}"
            return ServiceUnavailable(place, fault.format(**words), remedy)
    return None
