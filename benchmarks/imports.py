"""Import time of a cold start, by package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping

from tqdm import tqdm

from benchmarks.machine import ROOT, median

MAX_LISTED = 14
"""Packages, and modules, that are listed; the others are summed."""


def time_imports(statement: str, environment: Mapping[str, str], runs: int) -> dict[str, object]:
    """Measure the milliseconds that a process spends in imports, by package and by module.

    Each module counts its own time (`python -X importtime`, without what it imports), as the median over the runs.

    Args:
        statement: Python code to run.
        environment: additional variables.
        runs: number of processes.
    """
    times_by_module: defaultdict[str, list[float]] = defaultdict(list)
    sums = []
    for _ in tqdm(range(runs), desc="imports", unit="process", file=sys.stderr):
        line = [sys.executable, "-X", "importtime", "-c", statement]
        run = subprocess.run(line, env=os.environ | environment, cwd=ROOT, capture_output=True, text=True, check=True)
        rows = [row.removeprefix("import time:").split("|") for row in run.stderr.splitlines() if row.count("|") == 2]
        times = [(name.strip(), int(own) / 1000) for own, _, name in rows if own.strip().isdecimal()]
        for name, own in times:
            times_by_module[name].append(own)
        sums.append(sum(own for _, own in times))
    modules = Counter({name: median(times) for name, times in times_by_module.items()})
    packages: Counter[str] = Counter()
    for name, own in modules.items():
        packages[name.partition(".")[0]] += own
    return {
        "milliseconds": median(sums),
        "modules": len(modules),
        "packages": {name: round(own, 1) for name, own in packages.most_common(MAX_LISTED)},
        "other packages": round(sum(own for _, own in packages.most_common()[MAX_LISTED:]), 1),
        "slowest modules": {name: round(own, 1) for name, own in modules.most_common(MAX_LISTED)},
    }
