"""``python -m lakehouse`` in a stranger's folder runs none of the modules that lie there."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
THEIRS = ["json", "typing", "re", "logging", "typer", "rich", "structlog", "pathlib", "config"]


def test_what_lies_in_the_working_folder_is_not_imported(tmp_path):
    for name in THEIRS:
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w'); raise OSError")
    (tmp_path / "lake").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "lakehouse", "tables", "--root", "lake"], cwd=tmp_path, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
    )  # fmt: skip
    assert "holds no table" in done.stderr, done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_checkout_is_run_from_its_own_folder():
    without = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    words = [sys.executable, "-m", "lakehouse", "products", "--help"]
    done = subprocess.run(words, cwd=ROOT, env=without, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
