"""docs/ARCHITECTURE.md says what the code is: its rooms, its layers, its names."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import graph
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
NAMES = sorted(set(re.findall(r"`((?:lungseg|app|serverless)(?:\.\w+)+)`", PAGE)))

MAX_TOP_MODULES = 6
"""Modules directly below `lungseg` and `app`."""


@pytest.fixture(scope="module")
def house() -> graph.House:
    """Return the rooms and arrows of this checkout."""
    return graph.read_house()


def test_drawing_is_generated(house: graph.House) -> None:
    assert graph.replace_drawing(PAGE, graph.draw_layers(house)) == PAGE, "run: make docs"


def test_rooms_have_no_cycle(house: graph.House) -> None:
    assert graph.find_cycles(house) == []


def test_every_room_has_a_layer(house: graph.House) -> None:
    layers = graph.read_layers()
    listed = set().union(*layers)
    assert {room for room in house.rooms if not {room, room.split(".")[0]} & listed} == {"serverless"}
    assert graph.find_upward(house, layers) == []


def test_packages_have_few_modules_at_the_top(house: graph.House) -> None:
    assert {package: len(modules) <= MAX_TOP_MODULES for package, modules in house.modules.items()} == {
        "lungseg": True,
        "app": True,
    }


def test_tree_names_every_room(house: graph.House) -> None:
    tree = PAGE.partition("```text\n")[2].partition("```")[0]
    named = set(re.findall(r"([\w]+)(?:/|\.py)", tree))
    assert {room.split(".")[-1] for room in house.rooms} <= named
    folders = {path.name for path in (ROOT / "model_export").iterdir() if (path / "__init__.py").exists()}
    assert folders <= named
    assert [name for name in named if not list(ROOT.glob(f"**/{name}*"))] == []


@pytest.mark.parametrize("name", NAMES)
def test_name_on_the_page_exists(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return
    raise AssertionError(name)
