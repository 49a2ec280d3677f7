"""Commands that the documents name are commands that there are."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from model_export.__main__ import _parser

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["README.md", "docs/LIFECYCLE.md"])
def test_documented_flags_are_understood(document: str, capsys) -> None:
    text = (ROOT / document).read_text().replace("\\\n", " ")
    commands = [line for line in text.splitlines() if line.startswith("python -m model_export ")]
    assert commands
    for command in commands:
        words = shlex.split(command, comments=True)[3:]
        if "--help" not in words:
            _parser().parse_args(words)
