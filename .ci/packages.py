"""Known weaknesses of the pinned packages, by pip-audit; says aloud what could not be looked up.

    python .ci/packages.py requirements.txt

Exit 0 when none is known, or nobody could be asked; 1 when one is known.
"""

from __future__ import annotations

import json
import subprocess
import sys

SECONDS = 180


def main(requirements: str) -> int:
    """Ask pip-audit about every pin, and print what it found."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements, "--require-hashes",
               "--disable-pip", "--format", "json", "--progress-spinner", "off"]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603  # words of ours, never a line for a shell
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        lines, known = told(done.stdout)
    except subprocess.TimeoutExpired:
        lines, known = told("")
    print("\n".join(lines))
    return int(known)


def told(found: str) -> tuple[list[str], bool]:
    """Lines to print for pip-audit's JSON, and whether a weakness is known."""
    try:
        packages = json.loads(found)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return ["packages: NOT CHECKED: no advisory service could be asked"], False
    asked = [package for package in packages if "vulns" in package]
    lines = [
        f"packages: {package['name']} {package['version']}: {weakness['id']}, mended in "
        f"{', '.join(weakness['fix_versions']) or 'no version yet'}"
        for package in asked
        for weakness in package["vulns"]
    ]
    known = bool(lines)
    if unasked := [package["name"] for package in packages if "vulns" not in package]:
        names = ", ".join(unasked) if len(unasked) < len(packages) else "them"
        lines.append(f"packages: {len(unasked)} of {len(packages)} pins NOT CHECKED: "
                     f"the advisory service does not know {names}")  # fmt: skip
    if not known and asked:
        lines.append(f"packages: no weakness is known of {len(asked)} pins")
    return lines, known


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
