"""Shell completion, in the shells themselves as far as they are installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest
from processes import one_line, run

from lungseg.cli.completion import SHELLS
from lungseg.cli.main import main

COMPLETIONS = {
    "lungseg seg": "lungseg segment ",
    "lungseg RG": "lungseg RG1.dcm",  # the command may be left out
    "lungseg segment RG": "lungseg segment RG1.dcm",
    "lungseg segment RG1.dcm --format dicom-se": "--format dicom-seg",
    "lungseg batch ward": "lungseg batch ward 7",
    "lungseg batch images --wor": "--workers",
    "lungseg remote back": "lungseg remote backfill",
}
"""What is typed, and what stands there after Tab."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an image, a folder, and the scripts."""
    (tmp_path / "RG1.dcm").touch()
    (tmp_path / "ward 7").mkdir()
    for shell in SHELLS:
        with (tmp_path / f".{shell}").open("w") as script, contextlib.redirect_stdout(script):
            assert main(["completion", shell]) == 0
    return tmp_path


def require_shell(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize(
    ("shell", "options", "start"),
    [
        ("bash", ["--norc", "-i"], "source .bash"),
        ("zsh", ["-f", "-i"], "cp .zsh _lungseg; fpath=($PWD $fpath); autoload -U compinit; compinit -u -D"),
        ("tcsh", ["-f", "-i"], "source .tcsh"),
    ],
)
def test_tab_completes_commands_options_and_files(shell: str, options: list[str], start: str, folder: Path) -> None:
    require_shell(shell)
    # With dumb, tcsh completes nothing, while the others draw less.
    environment = os.environ | {"TERM": "vt100" if shell == "tcsh" else "dumb", "PS1": "$ ", "HOME": str(folder)}
    process = pexpect.spawn(
        shell, options, cwd=str(folder), env=environment, encoding="utf-8", timeout=20, dimensions=(50, 200)
    )
    try:
        process.sendline(f"{start}; echo rea''dy")
        process.expect_exact("ready\r\n")
        for typed, completed in COMPLETIONS.items():
            if (shell, typed) == ("tcsh", "lungseg RG"):
                continue  # offers commands only
            process.send(f"{typed}\t")
            process.expect_exact(completed.replace("ward 7", "ward\\ 7"))
            process.send("\x15")  # Ctrl-U clears the line
    finally:
        process.close(force=True)


def test_fish_completes_commands_options_and_files(folder: Path) -> None:
    require_shell("fish")
    for typed, completed in COMPLETIONS.items():
        program = f"source .fish; complete --do-complete '{typed}'"
        done = subprocess.run(
            ["fish", "--no-config", "-c", program], cwd=folder, capture_output=True, text=True, check=True
        )
        offers = [line.partition("\t")[0] for line in done.stdout.splitlines()]
        assert any(completed.rstrip().endswith(offer.rstrip("/")) for offer in offers), (typed, offers)


def test_powershell_script_names_the_commands(folder: Path) -> None:
    script = (folder / ".powershell").read_text()
    assert "Register-ArgumentCompleter" in script
    assert "backfill" in script


def test_unknown_shell_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "sh"])
    printed = capsys.readouterr().err
    assert all(shell in printed for shell in SHELLS)


def test_missing_shtab_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['shtab'] = None\n")
    done = run("completion", "bash", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert one_line(done) == "error: shtab is not installed; run: pip install --force-reinstall lungseg"


def test_shells_are_those_of_shtab() -> None:
    import shtab

    assert set(SHELLS) == set(shtab.SUPPORTED_SHELLS)
