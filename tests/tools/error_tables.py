"""Write the tables of docs/ERRORS.md from the code: errors, those of remote commands and DICOMweb, reasons, limits.

make docs
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from app import response_limit
from lungseg import errors, limits
from lungseg.dicomweb import errors as dicomweb_errors
from lungseg.pipeline import reasons
from lungseg.remote import errors as remote_errors

PAGE = Path(__file__).parents[2] / "docs" / "ERRORS.md"

Row = tuple[object, ...]


def error_page(text: str) -> str:
    """Return the page with its tables written anew, the first one below each of five headings."""
    for heading, head, rows in (
        ("Errors", ("status", "code", "title", "what to do"), _errors()),
        ("Remote commands", ("code", "exit code", "title", "what to do"), _coded_errors(remote_errors.RemoteError)),
        ("DICOMweb", ("code", "exit code", "title", "what to do"), _coded_errors(dicomweb_errors.DicomwebError)),
        ("Reasons of a verdict", ("decision", "code", "meaning"), _reasons()),
        ("Limits", ("name", "value", "meaning"), _limits()),
    ):
        before, found, after = text.partition(f"## {heading}\n")
        if not found:
            raise ValueError(f"the page has no heading {heading!r}")
        lines = [f"| {' | '.join(map(str, row))} |\n" for row in (head, *rows)]
        table = "".join((lines[0], f"{'|---' * len(head)}|\n", *lines[1:]))
        after, count = re.subn(r"(?m)^(\|.*\n)+", lambda _, table=table: table, after, count=1)  # type: ignore[misc]
        if not count:
            raise ValueError(f"there is no table below {heading!r}")
        text = before + found + after
    return text


def _errors() -> Iterable[Row]:
    for each in errors.every_problem():
        status = "-" if issubclass(each, errors.FileError) else each.status
        yield status, f"`{each.code}`", each.title, each.remedy


def _coded_errors(base: type[remote_errors.RemoteError]) -> Iterable[Row]:
    for each in base.__subclasses__():
        if each.__subclasses__():
            continue
        yield f"`{each.code}`", 1 if each.status >= 500 else 2, each.title, each.remedy


def _reasons() -> Iterable[Row]:
    for each in reasons.REASONS:
        yield each.decision, f"`{each.code}`", each.text


def _limits() -> Iterable[Row]:
    """Yield every constant of the modules of limits with the text that follows it."""
    for module in (limits, response_limit):
        for statement, following in pairwise(ast.parse(inspect.getsource(module)).body):
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                name = statement.targets[0].id
                if name.isupper():
                    assert isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant), name
                    yield f"`{name}`", f"{getattr(module, name):,}", " ".join(str(following.value.value).split())


if __name__ == "__main__":
    PAGE.write_text(error_page(PAGE.read_text()))
