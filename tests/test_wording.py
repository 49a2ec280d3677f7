"""Text for users says one word for one thing: the words that CONTRIBUTING.md's table replaces appear nowhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

WORDS = {
    r"films?": "image, chest X-ray, radiograph",
    r"doors?": "entry point",
    r"specks?": "small fragment",
    r"the author(?:'s)?": "the original project",
    r"seal(?:s|ed)?": "checksum",
    r"enlarge[sd]?|enlarging": "upsample",
    r"output forms?|forms of a result": "output format",
    r"turned(?! (?:off|on|into|away))": "rotated",
    r"what lung lies above": "threshold",
}

PAGES = ["README.md", *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
PACKAGES = ("lungseg", "app", "model_export")
NOT_TEXT = {"film's series"}
"""Strings that nobody reads: this one decides UIDs in stored DICOM Segmentations."""

GENERATED = {"docs/LICENCES.md"}
"""Names of packages and texts of licences."""


def find_words(text: str) -> list[str]:
    """Return the replaced words in a text with what to say, by line; code, codes and file names are skipped."""
    text = re.sub(r"```.*?```", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL)
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        prose = re.sub(r"`[^`]*`|<code>.*?</code>|\]\([^)]*\)|\S*[-_./]film\S*|\bfilms?[-_./]\S*", " ", line)
        for word, better in WORDS.items():
            if match := re.search(rf"\b(?:{word})\b", prose, re.IGNORECASE):
                found.append(f"line {number}: {match[0]!r}, say {better}: {line.strip()[:160]}")
    return found


def messages() -> Iterator[tuple[str, str]]:
    """Yield the place and text of every string with a space in it, without docstrings, of all packages."""
    for path in [each for package in PACKAGES for each in (ROOT / package).rglob("*.py")]:
        tree = ast.parse(path.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
            if is_text and " " in node.value.strip() and node.value not in NOT_TEXT:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


@pytest.mark.parametrize("page", sorted(set(PAGES) - GENERATED))
def test_page_uses_no_replaced_word(page: str) -> None:
    assert find_words((ROOT / page).read_text()) == []


def test_messages_use_no_replaced_word() -> None:
    assert [f"{place} {found}" for place, text in messages() for found in find_words(text)] == []


def test_web_page_uses_no_replaced_word() -> None:
    folder = ROOT / "lungseg" / "server" / "page"
    parts = [folder / "page.html", *folder.glob("*.js")]
    texts = {part.name: re.sub(r"^\s*//.*$", "", part.read_text(), flags=re.MULTILINE) for part in parts}
    assert {name: find_words(text) for name, text in texts.items() if find_words(text)} == {}


def test_template_and_make_use_no_replaced_word() -> None:
    template = (ROOT / "template.yaml").read_text()
    described = "\n".join(re.findall(r"Description: (.*)", template))
    targets = "\n".join(re.findall(r"## (.*)", (ROOT / "Makefile").read_text()))
    assert find_words(described + "\n" + targets) == []


def test_replaced_word_is_found_in_prose_only() -> None:
    assert find_words("A film is\nthrough the door.") != []
    assert find_words("`damaged-film`, film.dcm, damaged-film and ![x](film.png)") == []
