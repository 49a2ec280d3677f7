"""Test every promise of docs/RELIABILITY.md in full: `make prove`.

Two programs run in parallel where neither is timed. Tests enter what they counted in the `ledger`; a promise without an
entry is broken.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "RELIABILITY.md"
LOGS = ROOT / "runs" / "prove"

NUMBERS = tuple(range(1, 18))
"""Numbers of the promises in docs/RELIABILITY.md."""

CANARIES = ("canaries_http", "canaries_storage", "canaries_terminal")


@dataclass(frozen=True)
class Lane:
    """Programs that run one after the other.

    Attributes:
        name: the name of the log.
        commands: run in the root of the repository.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]


def tests(*names: str) -> tuple[str, ...]:
    """Return the command that tests some promises in full."""
    return (
        "env",
        "LUNG_PROVE=1",
        sys.executable,
        "-m",
        "pytest",
        "-s",
        *(f"tests/promises/test_{name}.py" for name in names),
    )


def make(target: str) -> tuple[str, ...]:
    """Return the command that makes a target, without this program's own ARGS."""
    return "make", target, "ARGS="


STAGES = (
    (
        Lane("fuzz", (tests("fuzz"),)),
        Lane(
            "rules",
            (
                tests("bombs", "damage", "metamorphic", *CANARIES, "lambda_events", "model_integrity"),
                tests("queue_failures", "output_keys"),
                tests("killers", "smallest_memory"),
                tests("manifests"),
                tests("template_policy", "supply_chain"),
            ),
        ),
    ),
    (Lane("soak", (tests("soak"),)), Lane("coverage", (make("coverage"),))),
    # Nothing in parallel: clients and server use both cores.
    (Lane("load", (tests("load"), tests("slow_crowd"))),),
    (Lane("mutation", (make("mutation"),)), Lane("processors", (make("processors"),))),
)
"""Lanes that run in parallel, stage after stage."""


def main() -> None:
    """Run the stages, print the table, and exit with 1 unless every promise was kept."""
    parser = argparse.ArgumentParser(description="Test every promise of docs/RELIABILITY.md in full.")
    parser.add_argument(
        "--only", nargs="+", metavar="LANE", help="only these: fuzz, rules, soak, coverage, load, mutation, processors"
    )
    parser.add_argument("--docs", action="store_true", help="write the table into docs/RELIABILITY.md")
    arguments = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    failed = []
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as ledger:
        for stage in STAGES:
            lanes = [lane for lane in stage if arguments.only is None or lane.name in arguments.only]
            failed += _run(lanes, ledger)
        entries = [json.loads(path.read_text()) for path in sorted(Path(ledger).iterdir())]
    if arguments.only is None:
        entries += [_unheard(number) for number in NUMBERS if number not in {each["number"] for each in entries}]
    entries.sort(key=lambda entry: entry["number"])
    minutes = (time.monotonic() - started) / 60
    for entry in entries:
        print(f"{entry['number']:2} {entry['verdict']:7} {entry['promise']}: {entry['tried']}; {entry['found']}")
    print(
        f"{minutes:.0f} minutes"
        + "".join(f"\nFAILED: {lane}, see {LOGS.relative_to(ROOT)}/{lane}.log" for lane in failed)
    )
    if arguments.docs:
        _write(entries, minutes)
    sys.exit(bool(failed) or any(entry["verdict"] != "kept" for entry in entries))


def _run(lanes: list[Lane], ledger: str) -> list[str]:
    """Run lanes in parallel; return the names of those that failed."""
    environment = os.environ | {"LUNG_LEDGER": ledger}
    script = "set -e\n"
    running = {}
    for lane in lanes:
        print(f"{time.strftime('%H:%M')} {lane.name} ...", flush=True)
        commands = script + "\n".join(subprocess.list2cmdline(command) for command in lane.commands)
        with (LOGS / f"{lane.name}.log").open("w") as log:
            running[lane.name] = subprocess.Popen(
                ["bash", "-c", commands], cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
    failed = []
    for name, process in running.items():
        if process.wait() != 0:
            failed.append(name)
        print(f"{time.strftime('%H:%M')} {name} {'FAILED' if name in failed else 'done'}", flush=True)
    return failed


def _unheard(number: int) -> dict[str, Any]:
    return {"number": number, "promise": "?", "tried": "nothing", "found": "", "verdict": "BROKEN", "seconds": 0.0}


def _write(entries: list[dict[str, Any]], minutes: float) -> None:
    """Write the table between its marks."""
    head = "|   | promise | tried | measured | verdict |\n| - | ------- | ----- | -------- | ------- |\n"
    rows = (
        f"| {each['number']} | {each['promise']} | {each['tried']} | {each['found']} | {each['verdict']} |"
        for each in entries
    )
    table = f"{head}{chr(10).join(rows)}\n\nAll of it took {minutes:.0f} minutes on {os.cpu_count()} cores.\n"
    page, count = re.subn(
        r"(<!-- prove -->\n).*(<!-- /prove -->)",
        lambda found: found[1] + table + found[2],
        PAGE.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit(f"error: {PAGE.relative_to(ROOT)} has no one place for the table")
    PAGE.write_text(page)
    print(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
