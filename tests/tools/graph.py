"""Print which rooms import which, and draw it: `make graph`.

    python tests/tools/graph.py                                 the packages of this repository
    python tests/tools/graph.py --docs                          the drawing in docs/ARCHITECTURE.md as well
    python tests/tools/graph.py --checkout ../old --packages app    another checkout, to compare

A room is a package or module directly below `lungseg` or `app`. An arrow means that one room imports another, also
within functions. A room's floor is the length of the longest path of arrows from it.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "ARCHITECTURE.md"
PACKAGES = ("lungseg", "app")
HANDLER = "serverless"
"""Lambda's handler: a single module, which grimp cannot read."""

Arrow = tuple[str, str]


@dataclass(frozen=True)
class House:
    """The rooms and who imports whom.

    Attributes:
        rooms: their names.
        arrows: each importing room with each room that it imports.
        modules: modules, not packages, directly below each package.
    """

    rooms: frozenset[str]
    arrows: frozenset[Arrow]
    modules: dict[str, list[str]]

    def below(self, room: str) -> set[str]:
        """Return the rooms that a room imports."""
        return {imported for importer, imported in self.arrows if importer == room}


def read_house(checkout: Path = ROOT, packages: Iterable[str] = PACKAGES) -> House:
    """Read a checkout's imports, without running its code."""
    packages = tuple(packages)
    graph = grimp.build_graph(*packages, cache_dir=None)
    arrows = set()
    rooms = {_room(module) for module in graph.modules}
    for importer in graph.modules:
        arrows |= {(_room(importer), _room(each)) for each in graph.find_modules_directly_imported_by(importer)}
    handler = checkout / f"{HANDLER}.py"
    if handler.exists():
        rooms.add(HANDLER)
        arrows |= {(HANDLER, _room(each)) for each in _imports(handler) if each.split(".")[0] in packages}
    modules = {
        package: sorted(each for each in graph.find_children(package) if not graph.find_children(each))
        for package in packages
    }
    # Every import of a room imports its package's `__init__` first: arrows to and from it say nothing.
    arrows = {(one, other) for one, other in arrows if one != other and not {one, other} & set(packages)}
    return House(frozenset(rooms - set(packages)), frozenset(arrows), modules)


def find_cycles(house: House) -> list[list[str]]:
    """Return the groups of rooms that import each other, directly or through others."""
    reach = {room: _reach(house, room) for room in house.rooms}
    groups = {frozenset(other for other in reach[room] if room in reach[other]) for room in house.rooms}
    return sorted(sorted(group) for group in groups if group)


def find_floors(house: House) -> dict[str, int]:
    """Return each room's floor, 0 for rooms that import none; rooms of one cycle share a floor."""
    group = {room: frozenset({room}) for room in house.rooms}
    group |= {room: frozenset(cycle) for cycle in find_cycles(house) for room in cycle}
    floors: dict[frozenset[str], int] = {}

    def floor(rooms: frozenset[str]) -> int:
        if rooms not in floors:
            below = {group[other] for room in rooms for other in house.below(room)} - {rooms}
            floors[rooms] = 1 + max((floor(each) for each in below), default=-1)
        return floors[rooms]

    return {room: floor(group[room]) for room in house.rooms}


def read_layers(checkout: Path = ROOT) -> list[set[str]]:
    """Return the layers of import-linter's contract in pyproject.toml, from the top; empty without a contract."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text()).get("tool", {}).get("importlinter", {})
    layers = next((each["layers"] for each in settings.get("contracts", []) if each["type"] == "layers"), [])
    return [set(re.split(r"\s*[|:]\s*", layer)) for layer in layers]


def find_upward(house: House, layers: list[set[str]]) -> list[Arrow]:
    """Return the arrows that point to a higher layer, or to another room of the same one."""
    level = {name: number for number, layer in enumerate(layers) for name in layer}
    # A layer lists a room by itself, or with its whole package.
    name = {room: room if room in level else room.split(".")[0] for room in house.rooms}
    listed = {(one, other) for one, other in house.arrows if name[one] in level and name[other] in level}
    return sorted(
        (one, other) for one, other in listed if name[one] != name[other] and level[name[one]] >= level[name[other]]
    )


def draw_layers(house: House) -> str:
    """Return a Mermaid drawing of the rooms; arrows that follow from a chain of others are left out."""
    kept = sorted(
        (one, other)
        for one, other in house.arrows
        if not any(other in _reach(house, between) for between in house.below(one) - {other})
    )
    lines = ["```mermaid", "flowchart TD"]
    for package in (HANDLER, *PACKAGES):
        inside = sorted(room for room in house.rooms if room.split(".")[0] == package)
        rooms = [f'    {_node(room)}["{room.removeprefix(f"{package}.")}"]' for room in inside]
        if inside == [HANDLER]:
            lines += [room.removeprefix("  ") for room in rooms]
        elif inside:
            lines += [f"  subgraph {package}_package [{package}]", *rooms, "  end"]
    lines += [f"  {_node(one)} --> {_node(other)}" for one, other in kept]
    return "\n".join((*lines, "```"))


def write_table(house: House, layers: list[set[str]]) -> str:
    """Return figures, upward arrows and cycles as text."""
    floors = find_floors(house)
    upward, cycles = find_upward(house, layers), find_cycles(house)
    lines = [f"{len(house.rooms)} rooms on {1 + max(floors.values())} floors, {len(house.arrows)} arrows"]
    lines += [f"arrows that point up or sideways: {len(upward)}", *(f"  {one} -> {other}" for one, other in upward)]
    lines += [f"cycles of rooms: {len(cycles)}", *(f"  {', '.join(cycle)}" for cycle in cycles)]
    for package, modules in house.modules.items():
        names = [each.removeprefix(f"{package}.") for each in modules]
        lines.append(f"modules at the top of {package}: {len(names)} ({', '.join(names)})")
    lines += ["", "floor  rooms"]
    for number in range(max(floors.values()), -1, -1):
        lines.append(f"{number:5}  {', '.join(sorted(room for room in floors if floors[room] == number))}")
    return "\n".join(lines)


def replace_drawing(page: str, drawing: str) -> str:
    """Return a page with another drawing between its marks."""
    changed, count = re.subn(
        r"(<!-- graph -->\n).*(<!-- /graph -->)",
        lambda found: f"{found[1]}{drawing}\n{found[2]}",
        page,
        flags=re.DOTALL,
    )
    if count != 1:
        raise SystemExit("error: docs/ARCHITECTURE.md must have the drawing's marks once")
    return changed


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def _node(room: str) -> str:
    return room.replace(".", "_")


def _reach(house: House, room: str) -> set[str]:
    found: set[str] = set()
    todo = house.below(room)
    while todo:
        found |= todo
        todo = {further for each in todo for further in house.below(each)} - found
    return found


def _imports(file: Path) -> set[str]:
    """Return the modules that a file imports, and the names that it imports from packages."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if "." in node.module else {f"{node.module}.{each.name}" for each in node.names}
    return found


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Print which rooms import which.")
    parser.add_argument("--checkout", type=Path, default=ROOT, help="another checkout (default: this one)")
    parser.add_argument("--packages", nargs="+", default=PACKAGES, help="its packages (default: lungseg app)")
    parser.add_argument("--docs", action="store_true", help="write the drawing into docs/ARCHITECTURE.md")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.checkout))
    house = read_house(arguments.checkout, arguments.packages)
    print(write_table(house, read_layers(arguments.checkout)))
    if arguments.docs:
        PAGE.write_text(replace_drawing(PAGE.read_text(), draw_layers(house)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
