"""Without the packages of the extra: every verb is there, and the model's say what to install."""

import subprocess
import sys

import pytest

_WITHOUT = """
import sys
from importlib.machinery import PathFinder

class Without:
    find_distributions = staticmethod(PathFinder.find_distributions)
    invalidate_caches = staticmethod(PathFinder.invalidate_caches)

    @staticmethod
    def find_spec(name, path=None, target=None):
        extra = {"sklearn", "skops", "onnx", "onnxruntime"}
        return None if name.split(".")[0] in extra else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from lakehouse.cli.app import main
main()
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("churn train", "pip install 'lakehouse[churn]'"),
        ("churn score --batch", "pip install 'lakehouse[churn]'"),
        ("demo churn", "pip install 'lakehouse[churn]'"),
        ("churn models", "no model yet"),
    ],
)
def test_the_extra_is_asked_for_where_it_is_needed(tmp_path, words, said):
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *words.split(), "--root", tmp_path / "lake"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said in done.stderr
    assert "Traceback" not in done.stderr
