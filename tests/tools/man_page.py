"""Write docs/lungseg.1, the manual page, from the parsers of the command line; the wheel installs it for `man lungseg`.

make docs
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from argparse_manpage.manpage import Manpage

from lungseg import __version__
from lungseg.cli.common import walk_parsers
from lungseg.cli.main import build_parser

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "lungseg.1"

HEADINGS = {"examples": "EXAMPLES", "formats": "FORMATS", "environment": "ENVIRONMENT", "exit codes": "EXIT STATUS"}
"""Sections of a help text's end, and those of the page, in its order."""

Entries = dict[str, str]
"""Texts by the terms that they explain."""


def manual_page() -> str:
    """Return the page, in the man macros of roff."""
    # A usage line is filled again, with an indentation: it must be shorter than the terminal.
    with patch.dict(os.environ, {"COLUMNS": "66"}):
        parser = build_parser()
        ends = {each.prog: read_sections(each.epilog or "") for each in walk_parsers(parser)}
        parser.epilog = None
        page = Manpage(parser, format="single-commands-section")
        page.description = "segment the lungs in frontal chest X-rays"
        page.manual, page.source = "lungseg manual", f"lungseg {__version__}"
        page.date = max(re.findall(r"^## \[.*\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))
        for name, heading in HEADINGS.items():
            page.add_section(heading, ">", "\n".join(_section(name, ends)))
        head, rest = str(page).split("\n", 1)
        # The date without roff's escapes; no hyphens and spaces that a command would be copied with.
        return "\n".join((head.replace("\\-", "-"), ".nh", ".ad l", rest))


def read_sections(epilog: str) -> dict[str, Entries]:
    """Return the sections at the end of a help text: a title and a colon, then lines of "  term   text".

    A line that is indented further continues the text, or the term if that ends with a backslash.
    """
    sections: dict[str, Entries] = {}
    term = ""
    for line in epilog.splitlines():
        if title := re.fullmatch(r"(\S.*):", line):
            entries = sections.setdefault(title[1], {})
        elif entry := re.fullmatch(r"  (\S.*?)(?: {2,}(.*))?", line):
            term = entry[1]
            entries[term] = entry[2] or ""
        elif term.endswith("\\") and line.strip():
            text = entries.pop(term)
            term = f"{term[:-1]}{line.strip()}"
            entries[term] = text
        elif line.strip():
            entries[term] = f"{entries[term]} {line.strip()}".strip()
    return sections


def _section(name: str, ends: dict[str, dict[str, Entries]]) -> Iterator[str]:
    """Yield the lines of a section: what the commands share once, the rest below each command."""
    found = {prog: sections[name] for prog, sections in ends.items() if name in sections}
    if name in ("formats", "environment"):
        shared: Entries = {}
        for entries in found.values():
            shared |= entries
        found = {"": shared}
    for prog, entries in found.items():
        if prog:
            yield f'.SS "{prog}"'
        for term, text in entries.items():
            yield from (".TP", f"\\fB{_escape(term)}\\fR", _escape(text) or "\\&")


def _escape(text: str) -> str:
    """Return text as roff prints it: with plain hyphens and quotes, and no line that is taken for a request."""
    for plain, escaped in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), ("`", "\\(ga"), ("~", "\\(ti"), ("^", "\\(ha")):
        text = text.replace(plain, escaped)
    return f"\\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    PAGE.write_text(manual_page())
