"""README's commands: every one falls under a rule, and some only read."""

import re
import shlex
from pathlib import Path

import typer

from lakehouse.cli.app import app
from lakehouse.cli.products import sender, with_part
from lakehouse.products.registry import products

ROOT = Path(__file__).parents[2]
PROGRAMS = ("lakehouse", "make", "psql", "python", "spark-submit", "venv-pack")
READING = (
    "diff", "doctor", "explore", "history", "jars", "report", "schema", "sql", "tables", "trace",
)  # fmt: skip
"""Verbs that change nothing and end by themselves."""
CLI = typer.main.get_command(app)
VERBS = sorted(CLI.commands)


FENCES = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands(text):
    """Every command of a README, once each, as the shell would be given it."""
    found = []
    for language, block in FENCES.findall(text):
        assert language in {"", "sh", "python"}, f"a block of {language!r} is not looked at"
        if language == "sh":
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.split("  #")[0] for line in lines if line.strip()]
    found += [inner for line in found for inner in re.findall(r"\$\((.*?)\)", line)]
    spans = re.findall(r"`([^`]+)`", FENCES.sub("", text))
    found += [span for span in spans if is_command(span)]
    return list(dict.fromkeys(" ".join(command.split()) for command in found))


def is_command(span):
    words = span.split()
    return words[0] in PROGRAMS or words[0].startswith("./") or (
        len(words) > 1 and not span.startswith("[")
    )  # fmt: skip


def kind(command):
    """The rule that a command falls under; None where no rule knows it."""
    words = shlex.split(command)
    program = Path(words[0]).name
    explores = words[:2] == ["python", "query_utils.py"] or words[1:2] == ["explore"]
    if explores and not {"--batch", "--sql", "--help"} & {*words}:
        return "screen"
    if program == "lakehouse" and len(words) > 1:
        return "read" if words[1] in READING or "--help" in words else "verb"
    if words[:2] == ["python", "query_utils.py"] or words[0] == "./check_setup.sh":
        return "read"
    return {
        "make": "make",
        "spark-submit": "job",
        "venv-pack": "another's",
        "psql": "another's",
    }.get(program)


def accept(verb, words):
    """Parse as the command would; raises where an option or a value is not taken."""
    if verb == "produce":
        name = words.pop(0) if words and words[0] in products() else None
        taker = typer.Typer()
        taker.command()(sender(with_part(name, "source")))
        command = typer.main.get_command(taker)
    else:
        command = CLI.commands[verb]
    if hasattr(command, "commands"):  # a group: its verb is the next word
        verb, *words = words
        command = command.commands[verb]
    return command.make_context(verb, list(words)).params


README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = commands(README)
PYTHON = [block for language, block in FENCES.findall(README) if language == "python"]
READS = [c for c in COMMANDS if kind(c) == "read"]
SCREENS = [c for c in COMMANDS if kind(c) == "screen"]
"""What fills a terminal until it is left."""
