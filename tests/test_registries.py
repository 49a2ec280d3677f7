"""A new member of a kind is one new module and one line in a registry: one of each is added in memory and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from registry_worker import ADDITIONS

ROOT = Path(__file__).resolve().parents[1]

EXPECTED = {
    "input format": {"pixels": [400, 400], "help": True, "openapi": True, "info": True, "page": True, "refusal": True},
    "output format": {
        "written": "pixels:",
        "help": True,
        "accept": "area",
        "openapi": True,
        "text on Lambda": True,
        "buckets": True,
    },
    "event source": {"answer": {"time": "noon"}},
    "verdict reason": {"text": "The lungs are small."},
    "CLI command": {"printed": "hello\n", "help": True},
    "setting": {"value": "blue", "page": True},
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what users see of each addition, from one process with all of them."""
    program = ROOT / "tests" / "support" / "registry_worker.py"
    done = subprocess.run(
        [sys.executable, program, tmp_path_factory.mktemp("added")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ADDITIONS)
def test_addition_needs_one_line_in_one_registry(kind: str, facts: Any) -> None:
    assert "\n" not in ADDITIONS[kind].line
    assert facts[kind] == EXPECTED[kind]
