"""Fuzzing: whatever is sent, the result is a mask or a named error."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from fuzz_worker import PEAK, RUNNING, SECONDS, case
from ledger import Ledger, cases
from seeds import seeds

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

SEED = int(os.environ.get("LUNG_SEED", "20"))
"""Another seed makes other images."""

BLIND, GUIDED = cases(1_300, 165_000), cases(200, 40_000)

ROUND = 5_000
"""Images per atheris process, which keeps about 60 KB of each."""

HOUR = 3600


SHELL = ("sh", "-c", '"$@"; exit $?', "sh")
"""Starts a command from a small process: libFuzzer reads ru_maxrss, which starts at that of the parent process."""


def run(script: str, *arguments: object, start: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a script of this folder in its own process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support", FOLDER)))}
    return subprocess.run(
        [*start, sys.executable, FOLDER / script, *map(str, arguments)],
        env=environment | {"LUNG_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=HOUR,
    )


def test_corrupted_image_gives_mask_or_error(tmp_path: Path, ledger: Ledger) -> None:
    """Every case depends only on a number, so that fuzz_worker.case can make it again."""
    print(f"seed {SEED}; images that break a promise are kept in {tmp_path}")
    wrong, outcomes, slowest, peak, first = {}, Counter[str](), 0.0, 0, 0
    while first < BLIND:
        done = run("fuzz_worker.py", SEED, first, BLIND, tmp_path)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        wrong |= {line["case"]: line["wrong"] for line in lines if "case" in line}
        last = lines[-1] if lines and "found" in lines[-1] else None
        if last is not None:
            outcomes.update(last["found"])
            slowest, peak = max(slowest, last["slowest"]), max(peak, last["peak"])
            first = BLIND
        else:
            running = tmp_path / RUNNING
            assert running.exists(), done.stderr[-2000:]
            number = int(running.read_text())
            assert number >= first, done.stderr[-2000:]
            wrong[number] = f"ended with {_name(done.returncode)}"
            (tmp_path / f"{number}.film").write_bytes(case(SEED, number))
            first = number + 1
    ledger.enter(
        1,
        "A corrupted image gives a mask or a named error, in bounded time and memory",
        f"{BLIND:,} inputs from {len(seeds())} images, corrupted at random and by their formats' grammar (seed {SEED})",
        f"{outcomes['mask']:,} masks, {outcomes.total() - outcomes['mask']:,} refusals of {len(outcomes) - 1} kinds, "
        f"slowest {slowest:.2f} s, peak {peak >> 20} MiB",
    )
    assert len(seeds()) >= 40
    assert not wrong
    assert slowest < SECONDS
    assert peak < PEAK


def _name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"code {code}"


def test_coverage_guided_image_gives_mask_or_error(tmp_path: Path, ledger: Ledger) -> None:
    tried = found = slowest = peak = 0
    for number, first in enumerate(range(0, GUIDED, ROUND)):
        done = run("fuzz_guided.py", SEED + number, min(ROUND, GUIDED - first), tmp_path, start=SHELL)
        figures = {name: int(value) for name, value in re.findall(r"stat::(\w+):\s+(\d+)", done.stderr)}
        tried += figures.get("number_of_executed_units", 0)
        found += figures.get("new_units_added", 0)
        slowest = max(slowest, figures.get("slowest_unit_time_sec", 0))
        peak = max(peak, figures.get("peak_rss_mb", 0))
        if done.returncode:
            break
    ledger.enter(
        1,
        "The same for images chosen by the code that they reach",
        f"{tried:,} inputs by atheris, from {len(seeds())} images (seed {SEED})",
        f"{found:,} of them reached new code, slowest {slowest} s, peak {peak} MiB",
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert tried >= GUIDED
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
