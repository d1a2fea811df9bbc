"""Processes of their own that begin with the imports done: copies of one that has loaded a module.

To load it takes longer than most of what tests make such a process do. A copy is a process like
any other: it may be killed, and has its own memory, exit code and words.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
_COPIES = """
import json, os, sys
load, code, cases = json.load(sys.stdin)
exec(load, names := {"__name__": "__main__"})
for words, environment, out, err in cases:
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for path, number in ((os.devnull, 0), (out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.environ.update(environment)
    sys.argv[1:] = words
    exec(code, names)
    sys.exit()
"""


def copies_of_one(load, code, cases, **environment):
    """What became of ``code`` in a copy for each case, one after the other.

    ``load`` is run once, before the process is copied: it starts no thread. A case is the words of
    ``sys.argv``, and may be a pair of them and of more environment. ``environment`` is of all.
    """
    with tempfile.TemporaryDirectory() as folder:
        given = [case if isinstance(case, tuple) else (case, {}) for case in cases]
        places = [(f"{folder}/{n}.out", f"{folder}/{n}.err") for n in range(len(given))]
        told = [
            ([*map(str, words)], more, *place)
            for (words, more), place in zip(given, places, strict=True)
        ]
        done = subprocess.run(
            [sys.executable, "-P", "-c", _COPIES], input=json.dumps([load, code, told]), cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, text=True, check=False,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        codes = [int(line) for line in done.stdout.split()]
        said = [[Path(path).read_text(errors="replace") for path in place] for place in places]
        return [
            subprocess.CompletedProcess(words, code, out, err)
            for (words, _), code, (out, err) in zip(given, codes, said, strict=True)
        ]
