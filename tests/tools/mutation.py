"""Measure how many mutants of the decoders, the mask and folder runs the tests detect: `make mutation`.

`make mutation` runs a seeded sample of mutmut's mutants. ARGS="--all" runs all; ARGS="--show decode/tiff" then shows
the undetected ones of a file. Equivalent mutants, and mutants that no test reaches, count as undetected.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ledger import Entry
from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = ROOT / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")

LEAST = 80
"""Percent."""

SAMPLE = 900
"""Number of mutants to run, in proportion to each file."""

NOTICED = {"killed", "timeout"}

MEMORY = 8 * 2**30
"""Bytes of address space: a mutant that allocates more has failed."""


def verdicts() -> Iterator[tuple[str, str, str]]:
    """Return the file, name and result of each mutant."""
    for meta in sorted(MUTANTS.rglob("*.meta")):
        file = meta.relative_to(MUTANTS).as_posix().removesuffix(".meta")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield file, name, status_by_exit_code[code]


def sample(seed: int) -> list[str]:
    """Return the names of some mutants of each file."""
    files: dict[str, list[str]] = {}
    for file, name, _ in verdicts():
        files.setdefault(file, []).append(name)
    share = min(1.0, SAMPLE / sum(map(len, files.values())))
    chooser = random.Random(seed)
    return [name for names in files.values() for name in chooser.sample(sorted(names), round(share * len(names)))]


def run(names: list[str], workers: int) -> None:
    """Make the mutants with mutmut if necessary, and run some of them; all if none are named."""
    command = [MUTMUT, "run", "--max-children", str(workers), *names]
    with (MUTANTS.with_name("mutants.log")).open("wb") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit(f"mutmut ended with {done.returncode}; mutants.log tells why")


def show(part: str) -> None:
    """Print undetected mutants."""
    for file, name, verdict in verdicts():
        if part in file and verdict not in {*NOTICED, "not checked"}:
            subprocess.run([MUTMUT, "show", name], cwd=ROOT, check=True)


def main() -> int:
    """Run mutants, print the score of each file, and return whether it is high enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="try every mutant")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--show", metavar="FILE", help="what was unnoticed in the last run, of files with this in their names"
    )
    arguments = parser.parse_args()
    if arguments.show is not None:
        show(arguments.show)
        return 0
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    started = time.monotonic()
    shutil.rmtree(MUTANTS, ignore_errors=True)
    if arguments.all:
        run([], arguments.workers)
    else:
        # Run one, so that mutmut makes all of them and finds their tests.
        run(["lungseg.pipeline.mask.x_outline_area__mutmut_1"], arguments.workers)
        run(sample(arguments.seed), arguments.workers)

    files: dict[str, list[str]] = {}
    every = 0
    for file, _, verdict in verdicts():
        every += 1
        if verdict != "not checked":
            files.setdefault(file, []).append(verdict)
    tried = sum(map(len, files.values()))
    noticed = sum(verdict in NOTICED for found in files.values() for verdict in found)
    for file, found in files.items():
        seen = sum(verdict in NOTICED for verdict in found)
        print(f"{file:<36} {seen:>5} of {len(found):>5}  {seen / len(found):.1%}")
    percent = 100 * noticed / tried
    slow = sum(verdict == "timeout" for found in files.values() for verdict in found)
    chosen = "all" if arguments.all else f"a sample (seed {arguments.seed}) of {every:,}"
    print(f"{noticed:,} of {tried:,} mutants noticed, {percent:.1f} %, {slow} of them by running out of time; {chosen}")
    if folder := os.environ.get("LUNG_LEDGER"):
        Entry(
            11,
            f"The tests detect at least {LEAST} % of mutations of the decoders, the mask and folder runs",
            f"{tried:,} mutants, {chosen}",
            f"{percent:.1f} % detected, {tried - noticed} not",
            "kept" if percent >= LEAST else "BROKEN",
            time.monotonic() - started,
        ).write(Path(folder), "mutation")
    return percent < LEAST


if __name__ == "__main__":
    sys.exit(main())
