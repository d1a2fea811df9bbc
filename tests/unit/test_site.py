"""The site of docs/: every page is in it, links lead somewhere, and nothing comes from afar."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.products.registry import sections_of_products
from lakehouse.settings.settings import sections
from tests.support.readme import VERBS, accept

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Made as strictly as `make site` does: a warning ends it."""
    folder = tmp_path_factory.mktemp("site")
    words = ["build", "--quiet", "--strict", "--config-file", str(ROOT / "mkdocs.yml")]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words, "--site-dir", str(folder)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_every_document_is_a_page(site):
    assert {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")} <= {
        path.name for path in site.iterdir()
    }


def test_pages_load_nothing_from_afar(site):
    for page in site.glob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"([^\"]+)\"", page.read_text())
        assert not [place for place in loaded if re.match(r"(?:https?:)?//", place)], page.name


def commands_of(text):
    """Commands of ours in blocks of shell, and in backticks; a verb alone is its name."""
    fences = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
    blocks = "\n".join(block for language, block in fences.findall(text) if language == "sh")
    lines = [line.split(" #")[0] for line in blocks.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"`([^`\n]+)`", fences.sub("", text))
    for command in (*lines, *spans):
        found = re.match(r"(?:\.venv/bin/)?lakehouse (\S+ .*|\S+$)", command.strip())
        if found and not found[1].split()[0].endswith(":"):  # as a message begins
            yield found[1]


@pytest.mark.parametrize("document", sorted(p.name for p in (ROOT / "docs").glob("*.md")))
def test_commands_and_keys_of_a_document_are_there(document):
    text = (ROOT / "docs" / document).read_text("utf-8")
    for command in commands_of(text):
        verb, *words = shlex.split(command)
        assert verb in VERBS, command
        if words:
            accept(verb, words)
    known = sections(sections_of_products())
    named = [key for key in re.findall(r"`\[(\w+)\] (\w+)`", text) if key[0] != "weather"]
    assert [key for key in named if key[1] not in known[key[0]].model_fields] == []
