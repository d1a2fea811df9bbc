"""``python -m tests.hostile.table`` writes the table of verbs and attacks into docs/security.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.hostile import test_hostile_backups, test_hostile_names
from tests.hostile.attacks import ATTACKS
from tests.hostile.fuzz import KINDS, TRIED
from tests.hostile.verbs import VERBS

PATH = Path(__file__).parents[2] / "docs" / "security.md"
BEGIN, END = "<!-- verbs and attacks: generated -->\n", "<!-- end -->\n"


def counted() -> str:
    """Rows of verbs, columns of kinds of attacks, and how many of a kind a verb is given."""
    of_lake = Counter(" ".join(name.split()[:2]) for name in ATTACKS)
    links = of_lake.pop("a link")
    others = of_lake.pop("a pipe") + of_lake.pop("a device")
    names = 2 * len(test_hostile_names.NAMES)  # of columns without values, and with them
    heads = ("verb", "column names that are SQL", "a log's names, sizes, values", "links",
             "pipes, devices", "a manifest")  # fmt: skip
    rows = [(verb, names, of_lake.total(), links, others, "") for verb in VERBS]
    rows.append(("restore", "", "", "", "", len(test_hostile_backups.ATTACKS)))
    out = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    out += ["| " + " | ".join(f"`{c}`" if i == 0 else str(c) for i, c in enumerate(row)) + " |"
            for row in rows]  # fmt: skip
    kinds = ", ".join(KINDS.values())
    out += [
        "",
        f"Besides, {TRIED:,} mutants, drawn by number, of {kinds} go to the verbs that read and to",
        "`restore` in `make test`; `make fuzz` draws others for hours.",
    ]
    return "\n".join(out) + "\n"


def written(text: str) -> str:
    """The document with today's table."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}{counted()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PATH.write_text(written(PATH.read_text("utf-8")), "utf-8")
