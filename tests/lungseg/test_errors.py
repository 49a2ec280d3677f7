"""docs/ERRORS.md and the code say the same of every refusal and every reason."""

from __future__ import annotations

import re
from pathlib import Path

from lungseg import errors, limits
from lungseg.pipeline import verdict

DOCUMENT = (Path(__file__).parents[2] / "docs" / "ERRORS.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, its head left out."""
    section = DOCUMENT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_refusal_is_documented_as_it_is() -> None:
    expected = [
        ["-" if kind in errors.LOCAL else str(kind.status), kind.code, kind.title, kind.remedy]
        for kind in errors.kinds()
    ]
    assert sorted(rows("Refusals")) == sorted(expected)


def test_codes_are_stable_names() -> None:
    codes = [kind.code for kind in errors.kinds()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code) for code in codes)


def test_every_reason_is_documented_as_it_is() -> None:
    expected = [[str(reason.decision), reason.code, reason.text] for reason in verdict.REASONS]
    assert rows("Reasons of a verdict") == expected


def test_every_limit_is_documented_with_its_number() -> None:
    documented = {row[0]: row[1] for row in rows("Limits")}
    assert documented == {name: f"{value:,}" for name, value in vars(limits).items() if name.isupper()}
