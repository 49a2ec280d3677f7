"""Every LUNG_* variable is in `lungseg.settings`, and on its page."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lungseg import settings
from lungseg.errors import ModelError

ROOT = Path(__file__).parents[2]


def test_page_is_generated() -> None:
    assert (ROOT / "docs" / "SETTINGS.md").read_text() == settings.settings_page(), "run: python -m lungseg.settings"


def test_every_variable_is_a_setting() -> None:
    files = [ROOT / "serverless.py", *(ROOT / "app").rglob("*.py"), *(ROOT / "lungseg").rglob("*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    texts = [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    texts.append((ROOT / "template.yaml").read_text())
    named = {name for text in texts for name in re.findall(r"LUNG_[A-Z0-9_]+", text)}
    assert named == {each.name for each in settings.every_setting()}


def test_malformed_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "0", "-1", "1.5", "two", "43201"):
        monkeypatch.setenv("LUNG_UPLOAD_SECONDS", text)
        with pytest.raises(ModelError, match=r"LUNG_UPLOAD_SECONDS must be a whole number from 1 to 43200\."):
            settings.UPLOAD_SECONDS.read(900)
    monkeypatch.setenv("LUNG_UPLOAD_SECONDS", "43200")
    assert settings.UPLOAD_SECONDS.read(900) == 43_200


def test_unset_variable_gives_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUNG_THREADS", raising=False)
    assert settings.THREADS.read(None) is None
