"""A model file that is damaged, incomplete or of another model is rejected at start with one clear line.

Without the checksum, 37 of 80 changed bits of the INT8 file gave another mask without an error.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Buckets
from films import RAMP8, png
from ledger import WHOLE, Ledger, cases
from models import card_of, with_card
from processes import one_line, run, start_function

from lungseg.errors import ModelError
from lungseg.model import checksum, processor, view
from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork, choose_precision, int8_path

SHIPPED = sorted(LUNG_WEIGHTS.parent.glob("*.onnx"))
INT8, VIEW = int8_path(LUNG_WEIGHTS), LUNG_WEIGHTS.with_name("view.onnx")
SERVED = INT8 if processor.dot_products() else LUNG_WEIGHTS
"""The file that this processor uses."""
ROOT = LUNG_WEIGHTS.parents[3]

DAMAGED = "The model's file is damaged, or was not written by `python -m model_export`."


def refusal(path: Path) -> str | None:
    """Return the error of a start with this file; None if it is accepted."""
    try:
        if path.name == VIEW.name:
            view.ViewNetwork(path, 1)
        elif processor.dot_products() or not path.name.endswith(".int8.onnx"):
            choose_precision(path, "auto", 1)
        elif not LungNetwork(path, 1, float_sums=True).passes_self_check():
            raise ModelError("It fails its self-check.")
    except ModelError as error:
        return str(error)
    return None


@pytest.fixture(params=SHIPPED, ids=lambda path: path.name)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a copy of a shipped file, to be damaged."""
    path = tmp_path / request.param.name
    shutil.copy(request.param, path)
    return path


def test_changed_bit_is_rejected(copy: Path, ledger: Ledger) -> None:
    """One bit at a time: spread over the whole file, in its first bytes, and in all of its checksum."""
    assert refusal(copy) is None
    size, dice = copy.stat().st_size, random.Random(8)
    count = cases(8, 400)
    places = [dice.randrange(number * size // count, (number + 1) * size // count) for number in range(count)]
    places += [*range(cases(2, 16)), *range(size - cases(2, checksum.CHECKSUM_LENGTH), size)]
    served = []
    with copy.open("r+b", buffering=0) as file:
        for place in places:
            byte = _at(file, place, None)
            _at(file, place, byte ^ 1 << dice.randrange(8))
            served += [place] * (refusal(copy) != DAMAGED)
            _at(file, place, byte)
    assert refusal(copy) is None
    found = f"{len(places) - len(served)} rejected"
    ledger.enter(8, "A model with a changed bit is rejected at start", f"{len(places)} bits of {copy.name}", found)
    assert served == []


def _at(file: Any, place: int, byte: int | None) -> int:
    """Read or write a byte of a file."""
    file.seek(place)
    return file.write(bytes([byte])) if byte is not None else file.read(1)[0]


def test_incomplete_file_is_rejected(copy: Path, ledger: Ledger) -> None:
    """Truncated, empty, with trailing bytes, doubled, a text, a folder, or missing."""
    content, size = copy.read_bytes(), copy.stat().st_size
    cuts = {0, 1, size - checksum.CHECKSUM_LENGTH, size - 1, *range(0, size, -(-size // cases(4, 60)))}
    others = [content[:cut] for cut in sorted(cuts)]
    others += [
        content + b"\0",
        content + content,
        content[:-1] + b"\n",
        b"version https://git-lfs.github.com/spec/v1\n",
    ]
    found = []
    for other in others:
        copy.write_bytes(other)
        found.append(refusal(copy) == DAMAGED)
    copy.unlink()
    found.append((refusal(copy) or "").startswith("The model cannot be read"))
    copy.mkdir()
    found.append((refusal(copy) or "").startswith("The model cannot be read"))
    count = f"{len(found)} states of {copy.name}"
    ledger.enter(8, "A truncated, empty, lengthened or missing model is rejected", count, f"{sum(found)} rejected")
    assert all(found)


NUMBERS = [None, "", "0.5", [], {}, float("nan"), float("inf"), -1, 10**400]

ODD: dict[str, list[Any]] = {
    "name": [None, "", 7, []],
    "threshold": [*NUMBERS, 0, 1, 1.5, 50],
    "mask_convention": [None, "", "above threshold is heart", "below threshold is lung"],
    "training": [None, "", [], 7],
    "metrics": [None, "", [], 7],
    "precision": [None, "", "int4", "INT8", 8, []],
    "quantised_from": [7, [], {}],
    # Without a stored answer, an INT8 file could give any.
    "self_check": [None, "", 7, [], [0.0] * 255, [0.0] * 256, [1.0] * 257, [float("nan")] * 256, ["0"] * 256],
    "input": [None, "", [], {}, 512],
    "outputs": [None, 7, "lung", [], ["field"], ["lung", "heart"], ["lung"], ["lung", "field"]],
    "expected_dice": ["", 7, [], {}, {"intercept": 0.0}, {"low": {}, "high": {}, "intercept": 0.0}],
}
"""Invalid values for each field of the segmentation network's card."""

ODD_INPUT: dict[str, list[Any]] = {
    "size": [*NUMBERS, 0, 256, 511, 1024, 512.0, True],
    "channels": [*NUMBERS, 0, 2, 3, 1.0],
    "stride": [*NUMBERS, 0, 2.5, 513],
    "low_percentile": [*NUMBERS, 99.5, 100],
    "high_percentile": [*NUMBERS, 0, 0.5, 101],
}


def odd_cards(good: dict[str, Any]) -> Iterator[object]:
    """Yield cards that differ from a valid one in a single field: wrong, missing or unknown."""
    for name, values in ODD.items():
        if name in ("outputs", "expected_dice"):  # older files lack them
            yield from (good | {name: value} for value in values)
        elif name in good:
            yield {key: value for key, value in good.items() if key != name}
            yield from (good | {name: value} for value in values)
    for name, values in ODD_INPUT.items():
        rest = {key: value for key, value in good["input"].items() if key != name}
        yield good | {"input": rest}
        yield from (good | {"input": rest | {name: value}} for value in values)
    yield from (good | {"task": "heart"}, good | {"input": good["input"] | {"mean": 0.5}})
    yield from (None, b"", b"null", b"[]", b"7", b'"card"', b"{", b"{}", b"\xff\xfe", b"[" * 100_000)


@pytest.mark.parametrize("shipped", [INT8, LUNG_WEIGHTS, VIEW], ids=lambda path: path.name)
def test_card_of_another_model_is_rejected(shipped: Path, tmp_path: Path, ledger: Ledger) -> None:
    """The checksum is valid: the file is not damaged, but was written by others or for another network."""
    path, content = tmp_path / shipped.name, shipped.read_bytes()
    good = card_of(content)
    path.write_bytes(with_card(content, good))
    assert refusal(path) is None
    others = (card_of(each.read_bytes()) for each in SHIPPED)
    cards = [card for card in odd_cards(good) if card != good]
    cards += [other for other in others if set(other) != set(good)]
    if not WHOLE:
        cards = cards[:: 2 if shipped == VIEW else 12 if shipped == LUNG_WEIGHTS else 3]
    served = []
    for card in cards:
        path.write_bytes(with_card(content, card))
        served += [str(card)[:200]] * (refusal(path) is None)
    count, found = f"{len(cards)} cards in {shipped.name}", f"{len(cards) - len(served)} rejected"
    ledger.enter(8, "A model with another model's card, or an invalid one, is rejected", count, found)
    assert served == []


def test_file_under_the_name_of_another_is_rejected(tmp_path: Path) -> None:
    for source, place in ((VIEW, "lung_unet.onnx"), (VIEW, "lung_unet.int8.onnx"), (INT8, VIEW.name)):
        shutil.copy(source, tmp_path / place)
        assert "no card of this service" in (refusal(tmp_path / place) or "")
        (tmp_path / place).unlink()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the program for new processes; return its folder of weights."""
    for package in ("app", "lungseg"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("weights"))
    shutil.copy(ROOT / "serverless.py", tmp_path)
    weights = tmp_path / "lungseg" / "model" / "weights"
    weights.mkdir()
    for path in SHIPPED:
        (weights / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return weights


def flip(path: Path) -> None:
    """Change a bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Keep two thirds."""
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) * 2 // 3])


def empty(path: Path) -> None:
    """Keep nothing."""
    path.unlink()
    path.touch()


FAULTS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "a changed bit": (flip, (SERVED.name,)),
    "a changed bit of the view network": (flip, (VIEW.name,)),
    "no file": (Path.unlink, (INT8.name, LUNG_WEIGHTS.name)),
    "no view network": (Path.unlink, (VIEW.name,)),
    "cut short": (cut, (SERVED.name,)),
    "empty": (empty, (SERVED.name,)),
    "a changed bit of the FP32 file, alone": (flip, (LUNG_WEIGHTS.name,)),
}


@pytest.mark.parametrize("fault", list(FAULTS)[: None if WHOLE else 2])
def test_every_start_fails_with_one_line(fault: str, program: Path, ledger: Ledger) -> None:
    """Each command exits with 1 and one line; Lambda's INIT ends with a ModelError, as in docs/OPERATIONS.md."""
    damage, names = FAULTS[fault]
    for name in names:
        damage(program / name)
    if LUNG_WEIGHTS.name in names:
        (program / INT8.name).unlink(missing_ok=True)
    images = program.parents[2] / "films"
    images.mkdir()
    image = images / "film.png"
    image.write_bytes(png(RAMP8))
    commands: list[list[object]] = [["serve", "--port", "65000"]]
    commands += [["info"], ["segment", image], ["batch", images, program.parents[2] / "masks"]] if WHOLE else []
    lines = []
    for command in commands:
        done = run(*command)
        lines.append(one_line(done))
        assert done.returncode == 1
        assert not done.stdout
    init = subprocess.run([sys.executable, "-c", "import serverless"], capture_output=True, timeout=60, check=False)
    assert init.returncode == 1
    lines.append(init.stderr.decode().splitlines()[-1].replace("lungseg.errors.ModelError", "error"))
    assert not list(program.parents[2].glob("**/*.mask.png"))
    count = f"{len(lines)} starts with {fault}"
    ledger.enter(8, "The command line and Lambda's INIT reject it with one line", count, lines[0])
    assert len(set(lines)) == 1
    assert "model" in lines[0]


def test_bucket_model_with_another_digest_is_rejected(buckets: Buckets, tmp_path: Path, ledger: Ledger) -> None:
    buckets.drop("lung.onnx", SERVED.read_bytes())
    names = {"LUNG_MODEL": f"s3://{buckets.films}/lung.onnx", "TMPDIR": str(tmp_path)}
    digests = (
        "0" * 64,
        checksum.verify_checksum(VIEW.read_bytes()),
        "",
        checksum.verify_checksum(SERVED.read_bytes())[:-1],
    )
    lines = []
    for digest in digests[: cases(1, len(digests))]:
        done = start_function(LUNG_MODEL_SHA256=digest, **names)
        lines.append(done.stderr.splitlines()[-1].removeprefix("lungseg.errors.ModelError: "))
        assert done.returncode == 1
    ledger.enter(8, "A bucket model with another digest is rejected", f"{len(lines)} digests", lines[0])
    assert all("LUNG_MODEL_SHA256" in line for line in lines)
