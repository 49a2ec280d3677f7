"""Whatever is in the output folder, a run keeps no wrong mask and changes nothing outside it."""

from __future__ import annotations

import csv
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from films import encode
from ledger import Ledger, cases
from PIL import Image

from lungseg.batch.manifest_file import MANIFEST_NAME
from lungseg.batch.report import FORMULA_STARTS
from lungseg.cli.main import main
from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment

SEED = 20261128
IMAGES = cases(24, 120)
ROUNDS = cases(1, 25)

Line = dict[str, Any]

JUNK = (None, True, -1, 0, 1e308, "", "\x1b]0;title\x07", "=HYPERLINK(1)", "../../thesis.txt", [], {}, [[]], "x" * 9999)


def members(line: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each member of a line."""
    inner = line.items() if isinstance(line, dict) else enumerate(line) if isinstance(line, list) else ()
    found = [path] if path else []
    for key, value in inner:
        found += members(value, (*path, key))
    return found


def with_junk(line: Line, by: random.Random) -> Line:
    """Change the type of a member, delete it, or rename it."""
    changed: Line = json.loads(json.dumps(line))
    *way, last = by.choice(members(changed))
    place: Any = changed
    for key in way:
        place = place[key]
    match by.randrange(3):
        case 0:
            place[last] = by.choice(JUNK)
        case 1:
            del place[last]
        case _ if isinstance(place, dict):
            place[by.choice(("/../../thesis.txt", "path", "heart", "\x1b[2J", "=1"))] = place.pop(last)
    return changed


def forged_output(size: int) -> Line:
    """Return what a line says about an output that was never written."""
    return {"size": size, "mtime_ns": 1, "sha256": "0" * 64}


FORGERIES: tuple[Callable[[Line, random.Random], object], ...] = (
    with_junk,
    lambda line, _: line | {"outputs": {"/../../home/thesis.txt": forged_output(13)}, "recipe": "another"},
    lambda line, _: line | {"outputs": {".mask.png": forged_output(-1)}},
    lambda line, _: line | ({"row": {**line["row"], "precision": "=1+1"}} if line["row"] else {}),
    lambda line, _: line | {"row": None, "problem": {"code": "\x1b[2J", "detail": ""}},
    lambda line, by: by.choice(JUNK),
)
"""How another person, or a failing disk, may change a line."""


def forged(line: Line, others: list[Line], by: random.Random) -> bytes:
    """Return a changed line: other members, another path, or other bytes."""
    match by.randrange(8):
        case 0:
            return json.dumps(line | {"path": by.choice(others)["path"]}).encode()
        case 1:
            raw = bytearray(json.dumps(line).encode())
            for _ in range(by.randrange(1, 5)):
                raw[by.randrange(len(raw))] = by.randrange(256)
            return bytes(raw)[: by.randrange(1, len(raw))].replace(b"\n", b"")
        case 2:
            return json.dumps(line)[:-1].encode() + b', "row": ' + by.choice((b"[", b'{"a":')) * 50_000
        case _:
            return json.dumps(by.choice(FORGERIES)(line, by)).encode()


def told(line: Line) -> Line:
    """Return a failure whose text would clear the terminal."""
    return line | {"problem": {**line["problem"], "detail": "\x1b[2J\n"}}


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, without following links."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def test_forged_manifest_gives_no_wrong_mask_and_no_outside_write(
    tmp_path: Path, rg1_png: bytes, capfd: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    by = random.Random(SEED)
    source, target, home = (tmp_path / name for name in ("in", "deep/out", "deep/home"))
    for folder in (source, home):
        folder.mkdir(parents=True)
    (tmp_path / "thesis.txt").write_bytes(b"thirteen byte")
    (home / "thesis.txt").write_bytes(b"thirteen byte")
    expected = pictures(source, rg1_png, tmp_path)
    table, report = tmp_path / "measures.csv", tmp_path / "run.json"
    command = ["batch", str(source), str(target), "--csv", str(table), "--report", str(report)]
    assert main(command) == 1  # one of them is not an image
    lines = [json.loads(line) for line in (target / MANIFEST_NAME).read_bytes().splitlines()]
    outside, wrong, lines_forged = tree(home), [], 0
    for _ in range(ROUNDS):
        kept = [json.dumps(line).encode() for line in lines if by.random() < 0.5]
        spoilt = [forged(line, lines, by) for line in lines for _ in range(by.randrange(1, 4))]
        by.shuffle(spoilt)
        lines_forged += len(spoilt)
        spoilt += [json.dumps(told(line)).encode() for line in lines if line["problem"]]
        (target / MANIFEST_NAME).write_bytes(b"\n".join([*kept, *spoilt]) + by.choice((b"", b"\n")))
        disturb(target, home, sorted(expected), by)
        swap(source, expected, by)
        capfd.readouterr()
        assert main(command) == 1
        said = capfd.readouterr().err
        assert all(line.isprintable() for line in said.replace("\r", "\n").split("\n")), said
        assert "internal-error" not in said
        assert tree(home) == outside
        assert (tmp_path / "thesis.txt").read_bytes() == b"thirteen byte"
        wrong += [name for name, mask in expected.items() if (target / f"{name}.mask.png").read_bytes() != mask]
        with table.open(newline="") as file:
            rows = list(csv.reader(file))
        assert {row[0] for row in rows[1:]} == {*expected, "no image.txt"}
        assert not any(cell.startswith(FORMULA_STARTS) for row in rows for cell in row)
        assert json.loads(report.read_bytes())["counts"]["images"] == len(expected) + 1
    ledger.enter(
        15,
        "Whatever is in the output folder, a run keeps no wrong mask and changes nothing outside it",
        f"{lines_forged:,} forged lines of {len(expected)} images in {ROUNDS} runs, seed {SEED}",
        f"{len(wrong)} wrong masks, 0 files changed outside",
    )
    assert not wrong


def pictures(source: Path, rg1_png: bytes, scratch: Path) -> dict[str, bytes]:
    """Write images of two kinds and one size, and a text file; return the masks of the images."""
    (scratch / "rg1.png").write_bytes(rg1_png)
    with Image.open(scratch / "rg1.png") as image:
        small = image.resize((160, 170))
    kinds = [encode(each, "BMP") for each in (small, small.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]
    masks = [mask_png(segment(kind).mask) for kind in kinds]
    (source / "no image.txt").write_bytes(b"no image")
    for number in range(IMAGES):
        (source / f"{number}.bmp").write_bytes(kinds[number % 2])
    return {f"{number}.bmp": masks[number % 2] for number in range(IMAGES)}


def swap(source: Path, expected: dict[str, bytes], by: random.Random) -> None:
    """Swap the names of some images of equal size and time."""
    for _ in range(IMAGES // 4):
        one, other = by.sample(sorted(expected), 2)
        (source / one).rename(source / "between")
        (source / other).rename(source / one)
        (source / "between").rename(source / other)
        expected[one], expected[other] = expected[other], expected[one]


def disturb(target: Path, home: Path, names: list[str], by: random.Random) -> None:
    """Remove outputs, or replace them by links out of the folder, or by folders."""
    for name in names:
        output = target / f"{name}.mask.png"
        match by.randrange(4):
            case 0:
                output.unlink()
            case 1:
                output.unlink()
                output.symlink_to(os.path.relpath(home / "thesis.txt", target))
            case 2:
                output.write_bytes(b"cut")
                (target / name).mkdir(exist_ok=True)  # so that names such as "0.bmp/../../home/thesis.txt" resolve
