"""How many small changes of the code the tests notice: mutmut's mutants of the decoders, the mask and folders' runs.

`make mutation` tries a seeded sample; ARGS="--all" every mutant, ARGS="--show decode/tiff" then shows those of a file
that no test noticed. Mutants that mean the same as the code count as unnoticed, and so do those that no test reaches.
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
"""Mutants that are tried of all, of each file in proportion."""

NOTICED = {"killed", "timeout"}

MEMORY = 8 * 2**30
"""Bytes of address space: a mutant that asks for more has failed."""


def verdicts() -> Iterator[tuple[str, str, str]]:
    """Each mutant's file and name, and what became of it."""
    for meta in sorted(MUTANTS.rglob("*.meta")):
        file = meta.relative_to(MUTANTS).as_posix().removesuffix(".meta")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield file, name, status_by_exit_code[code]


def sample(seed: int) -> list[str]:
    """Names of some mutants of each file."""
    files: dict[str, list[str]] = {}
    for file, name, _ in verdicts():
        files.setdefault(file, []).append(name)
    share = min(1.0, SAMPLE / sum(map(len, files.values())))
    chooser = random.Random(seed)
    return [name for names in files.values() for name in chooser.sample(sorted(names), round(share * len(names)))]


def run(names: list[str], workers: int) -> None:
    """Let mutmut make the mutants, if they are not there, and try some of them; all if none are named."""
    command = [MUTMUT, "run", "--max-children", str(workers), *names]
    with (MUTANTS.with_name("mutants.log")).open("wb") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise SystemExit(f"mutmut ended with {done.returncode}; mutants.log tells why")


def show(part: str) -> None:
    """Print what no test noticed."""
    for file, name, verdict in verdicts():
        if part in file and verdict not in {*NOTICED, "not checked"}:
            subprocess.run([MUTMUT, "show", name], cwd=ROOT, check=True)


def main() -> int:
    """Try, print the score by file, and whether it suffices."""
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
        # One of them, so that all are made, and their tests found.
        run(["lungseg.pipeline.mask.x_area__mutmut_1"], arguments.workers)
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
