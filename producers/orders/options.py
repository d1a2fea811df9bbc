"""The options of a capture, for its program and for ``lakehouse capture``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

ModeOption = Annotated[
    Literal["slot", "poll"],
    typer.Option(help="slot: every change; poll: by transaction id, and no deletes"),
]
SnapshotOption = Annotated[
    Literal["initial", "never", "only"],
    typer.Option(
        help="the table's rows, before its changes: at the first run, never, or nothing else"
    ),
]
AnewOption = Annotated[
    bool, typer.Option("--anew", help="forget slot and state, and take a new snapshot")
]
ResendOption = Annotated[
    bool,
    typer.Option(
        "--resend",
        help="send rows whose last change was too large for the topic, as they are now",
    ),
]
