"""The error tree: its drawing, its codes, and docs/ERRORS.md, whose tables are generated."""

from __future__ import annotations

import re

import error_tables

from lungseg import errors


def test_page_is_generated() -> None:
    text = error_tables.PAGE.read_text()
    assert text == error_tables.error_page(text), "run: make docs"


def test_drawing_shows_every_class() -> None:
    drawn = re.findall(r"── (\w+) +(?:(\d{3}) ([a-z0-9-]+)|\w)", errors.__doc__ or "")
    leaves = [(each.__name__, str(each.status), each.code) for each in errors.every_problem()]
    assert sorted(each for each in drawn if each[1]) == sorted(leaves)
    groups = {base.__name__ for each in errors.every_problem() for base in each.__mro__[1:-5]}
    assert {name for name, status, _ in drawn if not status} == groups


def test_every_class_has_a_sentence() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert all((each.__dict__["__doc__"] or "").partition("\n")[0].endswith(".") for each in classes)


def test_codes_are_stable_names() -> None:
    codes = [each.code for each in errors.every_problem()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code) for code in codes)
