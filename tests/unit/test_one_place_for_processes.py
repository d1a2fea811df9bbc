"""One module starts processes, and what it starts imports nothing from the working folder."""

import ast
import json
from pathlib import Path

from lakehouse.core.processes import finished, own_environment, python, started

ROOT = Path(__file__).parents[2]
STARTERS = {
    "subprocess.Popen",
    "subprocess.run",
    "subprocess.call",
    "subprocess.check_call",
    "subprocess.check_output",
    "subprocess.getoutput",
    "os.system",
    "os.popen",
    "os.fork",
    "os.posix_spawn",
    "os.execv",
    "os.execvp",
    "os.execve",
    "os.spawnv",
}


def test_no_other_code_starts_a_process():
    found = {
        str(path.relative_to(ROOT))
        for folder in ("lakehouse", "producers", "jobs")
        for path in ROOT.glob(f"{folder}/**/*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in STARTERS
    }
    assert found == {"lakehouse/core/processes.py"}


def test_a_python_that_we_start_imports_nothing_from_its_folder(tmp_path):
    (tmp_path / "json.py").write_text("open('ran', 'w')\n")
    code = "import json, lakehouse; print(json.__file__)"
    done = finished(python("-c", code), cwd=tmp_path, env=own_environment())
    assert done.stdout.strip() == json.__file__, done.stderr
    # and what that one starts
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'json.tool', '-h'])"
    assert finished(python("-c", inner), cwd=tmp_path).returncode == 0
    with started(["/bin/sh", "-c", "python3 -c 'import json'"], cwd=tmp_path) as shell:
        assert shell.wait() is not None
    assert not (tmp_path / "ran").exists()
