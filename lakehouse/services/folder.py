"""Which ports are free."""

from __future__ import annotations

import random
import socket
from itertools import islice

HOST = "127.0.0.1"
PORTS = range(12_000, 30_000)
"""Below those that systems give to connections: one of them may last as long as its service.

Seconds lie between the choice of a port and its use, and it is used again at each start.
"""


def is_free(port: int) -> bool:
    """Whether a service could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True


def free_ports(count: int) -> list[int]:
    """So many of PORTS that are free, drawn at random."""
    drawn = random.SystemRandom().sample(PORTS, 1_000)
    return list(islice(filter(is_free, drawn), count))
