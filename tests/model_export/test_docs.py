"""Commands and links in the documentation are valid."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from model_export.__main__ import _parser

ROOT = Path(__file__).parents[2]

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")))

COMMAND = re.compile(r"^ *(?:\S*python|torchrun\b.*?) -m model_export (?P<words>.*)$", re.MULTILINE)

LINK = re.compile(r"""\]\(<?([^)>\s]+)|\b(?:src|href)="([^"]+)\"""")


@pytest.mark.parametrize(
    "document",
    [
        "docs/TRAINING.md",
        "docs/LIFECYCLE.md",
        "docs/howto/own-masks.md",
        "model_export/__main__.py",
        "model_export/train.py",
        "model_export/sweeps/tune.py",
        "model_export/sweeps/search.py",
    ],
)
def test_documented_commands_parse(document: str) -> None:
    text = (ROOT / document).read_text()
    if document.endswith(".py"):
        text = ast.get_docstring(ast.parse(text)) or ""
    commands = [found["words"] for found in COMMAND.finditer(re.sub(r"\\\n *", "", text))]
    assert commands
    for command in commands:
        # A description follows the command, after a # or two spaces.
        words = shlex.split(re.split(r" {2,}(?!-)", command)[0], comments=True)
        try:
            _parser().parse_args(words)
        except SystemExit as end:
            assert end.code == 0, command  # --help exits with 0, too


@pytest.mark.parametrize("document", ["docs/LIFECYCLE.md", "model_export/kaggle.ipynb"])
def test_documented_imports_exist(document: str) -> None:
    text = (ROOT / document).read_text().replace("\\n", "\n")
    imports = re.findall(r"\bfrom ((?:lungseg|model_export|benchmarks)[\w.]*) import ([\w, ]+)", text)
    assert imports
    for module, names in imports:
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name.strip()), f"{module} has no {name}"


@pytest.mark.parametrize("document", PAGES)
def test_relative_links_exist(document: str) -> None:
    page = ROOT / document
    text = re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = {markdown or html for markdown, html in LINK.findall(text)}
    paths = {link.partition("#")[0] for link in links if not re.match(r"[a-z][a-z+.-]*:", link)}
    assert [path for path in sorted(paths) if not (page.parent / path).exists()] == []
