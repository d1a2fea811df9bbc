"""One customer's predictions as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lakehouse.core.text import printable
from lakehouse.explorer.format import Format
from lakehouse.explorer.show import Wide, printed


def told(answer: Mapping[str, Any]) -> str:
    """The latest prediction in a sentence, what contributed to it, and all predictions' places."""
    latest = answer["predictions"][0]
    said, facts = latest["prediction"], latest["input"]
    leaves = "is about to leave" if said["prediction"] == "Yes" else "stays"
    known = {"Yes": " Known: left.", "No": " Known: stayed."}.get(facts["Churn"] or "", "")
    lines = [
        f"{answer['customerID']} {leaves}: probability {said['probability']:.4f}, threshold "
        f"{said['threshold']:.4f}, model {said['model_version']}.{known}"
    ]
    tables: dict[str, pa.Table] = {}
    why = answer["why"]
    if isinstance(why, str):
        lines.append(f"Why cannot be told here: {why}")
    else:
        tables["contributions_to_the_log_odds"] = pa.Table.from_pylist(
            [
                {"feature": "(before anything is known)", "value": "", "contribution": why["base"]},
                *({**one, "value": str(one["value"])} for one in why["contributions"]),
                {"feature": "(log odds)", "value": "", "contribution": why["log_odds"]},
            ]
        )
    tables["predictions"] = pa.Table.from_pylist(
        [
            {
                "known_at": one["input"]["event_time"],
                "prediction": one["prediction"]["prediction"],
                "probability": one["prediction"]["probability"],
                "model": one["prediction"]["model_version"],
                "scored_at": one["prediction"]["scored_at"],
                "input": _place(one["input"]),
                "output": _place(one["prediction"]),
            }
            for one in answer["predictions"]
        ]
    )
    return "".join(f"{printable(line)}\n" for line in lines) + printed(
        tables, Format.table, Wide.BELOW
    )


def _place(of: Mapping[str, Any]) -> str:
    return f"{of['topic']}/{of['partition']}/{of['offset']}"
