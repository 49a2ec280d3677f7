"""Measure the branches of `app` and `lungseg` that the default suite takes: `make coverage`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ledger import Entry

ROOT = Path(__file__).resolve().parents[2]

LEAST = 95
"""Percent of the branches."""

LEFT_OUT = ("--ignore=tests/model_export", "--ignore=tests/app/test_import_budget.py")
"""Training is not measured, and coverage imports modules that the import budget would count."""


def coverage(*arguments: str) -> None:
    """Run a command of coverage, without a ledger for the promises' tests in the suite."""
    environment = {name: value for name, value in os.environ.items() if name != "LUNG_LEDGER"}
    command = [sys.executable, "-m", "coverage", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=False)


def main() -> int:
    """Run the suite, print what it does not cover, and return whether it covers enough."""
    started = time.monotonic()
    coverage("erase")
    # Tracing slows timed tests down, so failures do not count here.
    coverage("run", "-m", "pytest", "-q", *LEFT_OUT, *sys.argv[1:])
    coverage("combine", "--quiet")
    coverage("report")
    coverage("json", "--quiet", "-o", ".coverage.json")
    totals = json.loads((ROOT / ".coverage.json").read_text())["totals"]
    branches = 100 * totals["covered_branches"] / totals["num_branches"]
    lines = 100 * totals["covered_lines"] / totals["num_statements"]
    kept = branches >= LEAST
    print(
        f"{branches:.1f} % of {totals['num_branches']:,} branches, {lines:.1f} % of {totals['num_statements']:,} lines"
    )
    if folder := os.environ.get("LUNG_LEDGER"):
        Entry(
            12,
            f"The default suite takes at least {LEAST} % of the branches of app and lungseg",
            f"{totals['num_branches']:,} branches, {totals['num_statements']:,} lines",
            f"{branches:.1f} % of the branches, {lines:.1f} % of the lines",
            "kept" if kept else "BROKEN",
            time.monotonic() - started,
        ).write(Path(folder), "branches")
    return not kept


if __name__ == "__main__":
    sys.exit(main())
