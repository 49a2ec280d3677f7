"""Colours and names on a terminal, and neither in a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from io import StringIO
from pathlib import Path

import pytest
from processes import command

from lungseg import terminal
from lungseg.cli.main import main
from lungseg.doctor.installation import CheckResult
from lungseg.terminal import color_word, elide_name, has_colors, print_status

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
LONG_NAME = "1.2.826.0.1.3680043.8.498.12345678901234567890123456789012345678901234"


class Terminal(StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "WT_SESSION", "TERM_PROGRAM"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "on_terminal", "in_pipe"),
    [
        ({}, True, False),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, True, False),
        ({"FORCE_COLOR": "1"}, True, True),
        ({"FORCE_COLOR": "1", "TERM": "dumb"}, True, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colors_by_environment(
    variables: dict[str, str], on_terminal: bool, in_pipe: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (has_colors(Terminal()), has_colors(StringIO())) == (on_terminal, in_pipe)


@pytest.mark.parametrize(("variable", "expected"), [("WT_SESSION", True), ("TERM_PROGRAM", True), ("PROMPT", False)])
def test_old_windows_console_has_no_colors(variable: str, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal.sys, "platform", "win32")
    monkeypatch.setenv(variable, "1")
    assert has_colors(Terminal()) is expected


@pytest.mark.parametrize(
    ("line", "colored"),
    [
        ("verdict: accept", "verdict: \x1b[32maccept\x1b[0m"),
        ("verdict: review", "verdict: \x1b[33mreview\x1b[0m"),
        ("reject: a.png: no-lung", "\x1b[31mreject\x1b[0m: a.png: no-lung"),
        ("error: a.png: unreadable", "\x1b[31merror\x1b[0m: a.png: unreadable"),
        ("mask: accept", "mask: accept"),
        ("verdicts: 2 accept, 0 review", "verdicts: 2 accept, 0 review"),
        ("errors: 1", "errors: 1"),
    ],
)
def test_status_line_has_a_colored_word(line: str, colored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, expected in ((Terminal(), colored), (StringIO(), line)):
        monkeypatch.setattr(sys, "stderr", stream)
        print_status(line)
        assert stream.getvalue() == f"{expected}\n"


def test_padding_is_kept() -> None:
    assert color_word("ok      ", Terminal()) == "\x1b[32mok      \x1b[0m"
    assert color_word("info    ", Terminal()) == "info    "


@pytest.mark.parametrize(
    ("name", "columns", "elided"),
    [
        ("a.png", 5, "a.png"),
        ("ward/a.png", 6, "…a.png"),
        ("a.png", 1, "…"),
        ("a.png", 0, ""),
        ("a.png", -3, ""),
        ("", 0, ""),
        ("a\x1b]0;b.png", 40, "a\\x1b]0;b.png"),
        ("胸部.png", 7, "…部.png"),
        ("胸部.png", 6, "….png"),
    ],
)
def test_long_name_is_elided_from_its_start(name: str, columns: int, elided: str) -> None:
    assert elide_name(name, columns) == elided


def run_on_terminal(*arguments: object, columns: int = 80) -> tuple[int, str]:
    """Run a command on a terminal; return its exit code and what it printed there, both streams."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    printed: list[bytes] = []

    def read_all() -> None:
        try:
            while data := os.read(ours, 65536):
                printed.append(data)
        except OSError:  # Linux's way to say that the other side is closed
            return

    environment = os.environ | {"TERM": "xterm"}
    with subprocess.Popen(command(*arguments), stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        reader = threading.Thread(target=read_all)
        reader.start()
        code = process.wait(120)
        reader.join(30)
    os.close(ours)
    return code, b"".join(printed).decode()


def test_commands_are_colored_on_a_terminal_only(
    tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(small)
    (tmp_path / "b.png").write_bytes(b"no image")
    code, printed = run_on_terminal("segment", tmp_path / "a.png", tmp_path / "b.png")
    assert code == 2
    assert "verdict: \x1b[32maccept\x1b[0m\r\n" in printed
    assert "\x1b[31merror\x1b[0m: " in printed
    assert main(["segment", str(tmp_path / "a.png"), str(tmp_path / "b.png")]) == 2
    assert "\x1b" not in "".join(capsys.readouterr())


def test_invalid_command_line_is_colored(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with pytest.raises(SystemExit):
        main(["info", "--shout"])
    assert capsys.readouterr().err.startswith("\x1b[31merror\x1b[0m: unrecognized arguments: --shout; ")


def test_doctor_colors_states(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    checks = [CheckResult("memory", "ok", "enough"), CheckResult("model", "failed", "none", "Reinstall.")]
    monkeypatch.setattr("lungseg.cli.doctor.check_installation", lambda: iter(checks))
    assert main(["doctor"]) == 1
    plain = capsys.readouterr().out
    assert plain.splitlines() == [
        "ok       memory: enough.",
        "failed   model: none. Reinstall.",
        "2 checks: 1 failed, 0 warnings",
    ]
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["doctor"]) == 1
    colored = capsys.readouterr().out
    assert colored.startswith(
        "\x1b[32mok      \x1b[0m memory: enough.\n\x1b[31mfailed  \x1b[0m model: none. Reinstall.\n"
    )
    assert ESCAPE.sub("", colored) == plain


def test_progress_bar_names_the_image_within_the_terminal(
    tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / f"{LONG_NAME}.png").write_bytes(small)
    code, printed = run_on_terminal("batch", source, tmp_path / "out", columns=80)
    assert code == 0
    drawn = [ESCAPE.sub("", text).strip() for text in re.split(r"[\r\n]+", printed) if "1/1 [" in text]
    assert drawn[-1].endswith("01234.png]")
    assert max(map(len, drawn)) <= 80
    assert main(["batch", str(source), str(tmp_path / "out")]) == 0  # on no terminal; the image is done
    printed = capsys.readouterr().err
    assert "1/1 [" in printed
    assert ".png" not in printed
