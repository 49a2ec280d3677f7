"""`python -m model_export.missing`: install only the requirements that are missing.

For hosts such as Kaggle, whose PyTorch fits their GPUs: `pip install -r model_export/requirements.txt` would
replace it by the pinned one.
"""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def main() -> int:
    """Install the missing requirements at their pinned versions; return pip's exit status."""
    lines = missing(REQUIREMENTS)
    print("nothing is missing" if not lines else f"installing {', '.join(lines)}", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    return subprocess.run([*pip, *lines], check=False).returncode if lines else 0


def missing(requirements: Path) -> list[str]:
    """Return the lines of ``requirements`` and of the files that it includes for which no version is installed."""
    found: list[str] = []
    for line in requirements.read_text().splitlines():
        if line.startswith("-r "):
            found += missing(requirements.parent / line.removeprefix("-r ").strip())
        elif name := re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line):
            try:
                metadata.version(name[0])
            except metadata.PackageNotFoundError:
                found.append(line.strip())
    return found


if __name__ == "__main__":
    raise SystemExit(main())
