"""README's commands: each has a rule here, and those that only read are run in tests/live.

A command is a line of a ``sh`` block, what such a line takes in by ``$( )``, or a
backticked span that names a program or has several words.
"""

import re
import shlex
import subprocess

import pytest
import typer
from typer.testing import CliRunner

from lakehouse.cli.app import app
from lakehouse.cli.explore import explore
from lakehouse.products.registry import sections_of_products
from lakehouse.runtime.driver import flow
from lakehouse.settings.reading import RESERVED_ENV
from lakehouse.settings.settings import sections
from tests.support.readme import COMMANDS, README, READS, ROOT, VERBS, accept, commands, kind


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_of_the_readme_is_right(command):
    words = shlex.split(command)
    match kind(command):
        case "read" | "verb" | "screen" if words[0].endswith("lakehouse"):
            assert words[1] in VERBS
            taken = accept(words[1], words[2:])
            for name in taken.get("flows") or []:
                flow(name)
        case "read" | "screen" if words[0] == "python":
            taker = typer.Typer()
            taker.command()(explore)
            typer.main.get_command(taker).make_context("explore", words[2:])
        case "read":
            assert (ROOT / words[0]).stat().st_mode & 0o111
        case "make":
            done = subprocess.run(
                ["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            makefile = (ROOT / "Makefile").read_text()
            for variable in (word.split("=")[0] for word in words[1:] if "=" in word):
                assert f"$({variable})" in makefile
        case "job":
            assert (ROOT / words[-1]).is_file()
        case "another's":
            pass
        case _:
            pytest.fail(f"no rule of this test knows {command!r}")


def test_a_command_that_nobody_checks_is_found():
    text = "```sh\nfoo --bar \\\n  baz  # no\nmake x\n```\nSee `kubectl get pods`, `a.b`, `./x`."
    assert commands(text) == ["foo --bar baz", "make x", "kubectl get pods", "./x"]
    assert [kind(c) for c in commands(text)] == [None, "make", None, None]
    assert kind("python other.py") is None


def test_the_parser_sees_what_the_readme_has():
    assert {"make demo", "lakehouse tables", "lakehouse jars", "./check_setup.sh"} <= {*COMMANDS}
    assert any(c.startswith("spark-submit --master yarn") for c in COMMANDS)
    assert any(c.startswith("python query_utils.py") and "--sql" in c for c in READS)


def test_files_and_links_of_the_readme_are_there():
    spans = re.findall(r"`([^`\s<]+\.(?:py|ini|sh|md))`", README)
    links = re.findall(r"\]\(([^)#]+)", README)
    assert len(links) >= 3
    assert [p for p in [*spans, *links] if "://" not in p and not (ROOT / p).exists()] == []


def test_keys_and_variables_of_the_readme_are_settings():
    known = sections(sections_of_products())
    for section, key in re.findall(r"`\[(\w+)\] (\w+)`", README):
        assert key in known[section].model_fields
    names = {f"LAKEHOUSE_{s}_{k}".upper() for s, m in known.items() for k in m.model_fields}
    for name in re.findall(r"`(LAKEHOUSE_[A-Z_]+)`", README):
        assert name in {*names, *RESERVED_ENV}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_and_is_written_of(verb):
    shown = CliRunner().invoke(app, [verb, "--help"], prog_name="lakehouse")
    assert shown.exit_code == 0
    assert shown.stdout.strip().startswith(f"Usage: lakehouse {verb}")
    assert "Example" in shown.stdout
    documents = "".join(p.read_text("utf-8") for p in (ROOT / "docs").glob("*.md"))
    assert re.search(rf"\blakehouse {verb}\b", "\n".join(COMMANDS) + documents)
