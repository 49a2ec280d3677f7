"""Files written by other programs, and damaged ones: expected outcomes from a list next to the checkout."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from films import SHARED, dice

from lungseg.errors import ProblemError
from lungseg.pipeline.segment import segment

CASES = SHARED.parent / "cases"
LIST = CASES / "expected.csv"

LINES = list(csv.DictReader(LIST.read_text().splitlines())) if LIST.is_file() else []


@pytest.mark.skipif(not LINES, reason="the foreign files are not here (../shared/cases)")
@pytest.mark.parametrize("line", LINES or [{"file": "none"}], ids=lambda line: Path(line["file"]).stem)
def test_foreign_file_gives_the_expected_outcome(line: dict[str, str]) -> None:
    try:
        found = segment((CASES / line["file"]).read_bytes())
    except ProblemError as error:
        assert error.code in line["expected"].split("|")
        return
    assert "mask" in line["expected"].split("|")
    if line["reference"]:
        reference = segment((CASES / line["reference"]).read_bytes())
        assert dice(found.mask, reference.mask) >= 0.98
