"""The manual page: written from the parsers, complete, and without faults that man or mandoc reports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import man_page
import pytest

from lungseg.cli.common import walk_parsers
from lungseg.cli.main import build_parser


def read_page(width: int) -> str:
    """Return the page as man prints it."""
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    environment = os.environ | {"MANWIDTH": str(width), "LC_ALL": "C.UTF-8", "MAN_KEEP_FORMATTING": ""}
    done = subprocess.run(
        ["man", "--warnings", "--local-file", man_page.PAGE],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_page_is_that_of_the_parsers() -> None:
    # Versions of Python break usage lines at different places.
    assert man_page.PAGE.read_text().split() == man_page.manual_page().split(), "run: make docs"


def test_man_prints_every_command_option_and_example() -> None:
    printed = " ".join(read_page(400).split())
    for parser in walk_parsers(build_parser()):
        assert parser.prog in printed
        for action in parser._actions:
            assert action.dest == "help" or all(option in printed for option in action.option_strings)
        for line in re.findall(r"^  (lungseg .*?)(?:  .*)?$", parser.epilog or "", re.MULTILINE):
            assert line.rstrip(" \\") in printed, line
    for section in ("SYNOPSIS", "COMMANDS", "EXAMPLES", "FORMATS", "ENVIRONMENT", "EXIT STATUS"):
        assert section in printed


def test_page_fits_80_columns() -> None:
    assert max(map(len, read_page(80).splitlines())) <= 80


def test_mandoc_has_no_warning() -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", man_page.PAGE], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_end_of_a_help_text_is_read_by_section_and_term() -> None:
    examples = "examples:\n  lungseg a.png   one\n                  image\n  lungseg b \\\n      --url u\n"
    epilog = f"{examples}\nexit codes:\n  0    done\n"
    assert man_page.read_sections(epilog) == {
        "examples": {"lungseg a.png": "one image", "lungseg b --url u": ""},
        "exit codes": {"0": "done"},
    }
