"""`missing` installs only packages that are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_export import missing


def test_missing_reads_included_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "base.txt").write_text("# a comment\nnumpy==0.1\nno-such-package-a==1.0\n")
    (tmp_path / "inner" / "more.txt").write_text("-r ../base.txt\n\nno-such-package-b==2.0\ntorch==0.1\n")
    assert missing.missing(tmp_path / "inner" / "more.txt") == ["no-such-package-a==1.0", "no-such-package-b==2.0"]


def test_pip_is_not_run_if_nothing_is_missing(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(missing.subprocess, "run", None)
    assert missing.main() == 0
    assert "nothing is missing" in capsys.readouterr().out
