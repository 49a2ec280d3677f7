"""Metamorphic relations between an image and a changed copy: on RG1, and on public test images if they are beside the
checkout (they are only segmented here, never used for tuning).

Each bound leaves room below the worst value measured on all of them, which is in docs/RELIABILITY.md. The worst is
mostly one image whose right lung ends in fluid: it has no edge there, and any change moves the estimated one.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import dice, dicom, encode, packaged, png, tiff
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st
from ledger import WHOLE, Ledger, cases
from numpy.typing import NDArray
from PIL import Image

from lungseg.decode import decode
from lungseg.encode.png import mask_png
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.options import Options
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment

Grey = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SEED = int(os.environ.get("LUNG_SEED", random.randrange(2**32))) if WHOLE else 7
"""Seed of all examples; LUNG_SEED repeats a run of `make prove`."""

SIDE = 512
"""Longer side in pixels, as in the public images."""

CXR = {
    "montgomery": "pulmonary-chest-xray-abnormalities/Montgomery/MontgomerySet/CXR_png",
    "shenzhen": "pulmonary-chest-xray-abnormalities/ChinaSet_AllFiles/ChinaSet_AllFiles/CXR_png",
}


class Films:
    """Images by name, and their results."""

    def __init__(self, kind: str, read: dict[str, Callable[[], Grey]]) -> None:
        self.kind, self._read = kind, read
        self._pixels: dict[str, Grey] = {}
        self._results: dict[str, Result] = {}

    @property
    def names(self) -> st.SearchStrategy[str]:
        """Draw a name."""
        return st.sampled_from(sorted(self._read))

    def __len__(self) -> int:
        return len(self._read)

    def pixels(self, name: str) -> Grey:
        """Return an image's pixels."""
        if name not in self._pixels:
            self._pixels[name] = self._read[name]()
        return self._pixels[name]

    def result(self, name: str) -> Result:
        """Return the result of an unchanged image."""
        if name not in self._results:
            self._results[name] = segment(png(self.pixels(name)))
        return self._results[name]


def _rg1() -> Grey:
    pixels = decode(packaged("RG1_UNCR.dcm").read_bytes()).pixels
    return _resized((pixels >> 8).astype(np.uint8), SIDE / max(pixels.shape))


def _public(shared: Path) -> dict[str, Callable[[], Grey]]:
    """Return the images of both published test splits."""
    found: dict[str, Callable[[], Grey]] = {}
    for source, folder in CXR.items():
        for line in (shared / "splits" / source / "test.txt").read_text().split():
            path = shared / "input" / folder / f"{Path(line).stem}.png"

            def read(path: Path = path) -> Grey:
                with Image.open(path) as image:
                    return np.asarray(image.convert("L"))

            found[path.stem] = read
    return found


@pytest.fixture(scope="module", params=["RG1", "public test images"])
def images(request: pytest.FixtureRequest) -> Films:
    """Return RG1, or the public images; skip the test without them."""
    if request.param == "RG1":
        return Films("RG1", {"RG1": _rg1})
    return Films(request.param, _public(request.getfixturevalue("shared")))


@dataclass
class Measured:
    """Measurements of one relation.

    Attributes:
        values: one per example, 1 if it holds to the pixel.
        worst: the example with the smallest value.
    """

    values: list[float] = field(default_factory=list)
    worst: str = ""

    def add(self, value: float, example: str) -> None:
        """Add an example's value."""
        if value < min(self.values, default=2):
            self.worst = example
        self.values.append(value)

    @property
    def line(self) -> str:
        """Return worst and mean as text."""
        return f"worst {min(self.values):.4f}, mean {self.mean:.4f}"

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    def holds(self, worst: float, mean: float) -> None:
        """Fail unless the smallest value and the mean are above their bounds."""
        assert min(self.values) >= worst, self.worst
        assert self.mean >= mean


def examples(images: Films, small: int, whole: int) -> Callable[[Any], Any]:
    """Return the number of examples: a quarter for RG1."""
    part = 0.25 if images.kind == "RG1" else 0.75
    count = round(cases(small, whole) * part)
    decorate = settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=not WHOLE,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    return lambda test: decorate(seed(SEED)(test) if WHOLE else test)


def enter(ledger: Ledger, images: Films, relation: str, count: int, found: str) -> None:
    """Enter one line of this promise."""
    how = f", seed {SEED}" if WHOLE else ""
    ledger.enter(3, relation, f"{count:,} comparisons on {len(images)} images ({images.kind}){how}", found)


def _resized(pixels: Grey, scale: float) -> Grey:
    size = tuple(max(1, round(side * scale)) for side in pixels.shape[::-1])
    way = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize(size, way))


def _mask_resized(mask: Mask, like: Mask) -> Mask:
    """Return a mask resized to another's grid."""
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize(like.shape[::-1], Image.Resampling.BILINEAR)) > 127


def _lungs(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the smaller Dice of the right lungs and of the left lungs."""
    return min(dice(one == lung, other == lung) for lung in (RIGHT, LEFT))


ORIENTATIONS = {"L\\F": "R\\F", "R\\F": "L\\F"}
"""PatientOrientation of an image, and of the same image mirrored."""


def test_mirrored_image_gives_mirrored_mask_with_sides_swapped(images: Films, ledger: Ledger) -> None:
    masks, doubtful_masks, lungs, seen = Measured(), Measured(), Measured(), []

    @examples(images, 6, 320)
    @given(images.names, st.floats(0.5, 1.5), st.sampled_from([None, *ORIENTATIONS]))
    def mirror(name: str, scale: float, orientation: str | None) -> None:
        pixels = _resized(images.pixels(name), scale)
        turned = np.ascontiguousarray(pixels[:, ::-1])
        if orientation is None:
            one, other = segment(png(pixels)), segment(png(turned))
            seen.append(one.pose.mirrored != other.pose.mirrored)
        else:
            one = segment(dicom(pixels, PatientOrientation=orientation))
            other = segment(dicom(turned, PatientOrientation=ORIENTATIONS[orientation]))
        is_doubtful = any(reason.code == "doubtful-mask" for each in (one, other) for reason in each.verdict.reasons)
        group = doubtful_masks if is_doubtful else masks
        group.add(dice(other.mask, one.mask[:, ::-1]), f"{name} x {scale:.3f}")
        # If the image is known to be mirrored, the lungs keep their names; otherwise they are swapped.
        expected = one.labels[:, ::-1]
        if one.pose.mirrored == other.pose.mirrored:
            expected = np.choose(expected, (0, LEFT, RIGHT)).astype(np.uint8)
        lungs.add(_lungs(other.labels, expected), f"{name} x {scale:.3f}")

    mirror()
    count = len(masks.values) + len(doubtful_masks.values)
    found = f"Dice of the mask {masks.line}"
    if doubtful_masks.values:
        found += f"; of {len(doubtful_masks.values)} masks that the verdict calls doubtful {doubtful_masks.line}"
    found += f"; of each lung {lungs.line}; {sum(seen)} of {len(seen)} seen to be mirrored"
    enter(ledger, images, "A mirrored image gives the mirrored mask, right and left swapped", count, found)
    masks.holds(0.95, 0.988)
    if doubtful_masks.values:
        doubtful_masks.holds(0.92, 0.92)
    lungs.holds(0.91, 0.985)


def test_padding_changes_little(images: Films, ledger: Ledger) -> None:
    masks = Measured()
    border = st.floats(0, 0.1)

    @examples(images, 6, 360)
    @given(images.names, border, border, border, border, st.floats(0, 1))
    def pad(name: str, top: float, bottom: float, left: float, right: float, grey: float) -> None:
        pixels, mask = images.pixels(name), images.result(name).mask
        height, width = pixels.shape
        up, down, before, after = (round(each * max(height, width)) for each in (top, bottom, left, right))
        level = round(grey * pixels.mean())  # from black to the image's mean
        found = segment(png(np.pad(pixels, ((up, down), (before, after)), constant_values=level))).mask
        expected = np.pad(mask, ((up, down), (before, after)))
        masks.add(dice(found, expected), f"{name} with {up}, {down}, {before}, {after} of {level}")

    pad()
    enter(
        ledger, images, "Padding of up to a tenth on each side changes little", len(masks.values), f"Dice {masks.line}"
    )
    masks.holds(0.9, 0.985)


LOST = 0.05
"""Fraction of an image that a moderate gain may clip."""


def test_gain_and_offset_change_little(images: Films, ledger: Ledger) -> None:
    exact, clipped = Measured(), Measured()

    @examples(images, 6, 320)
    @given(images.names, st.floats(0.5, 1.2), st.floats(-15, 15), st.integers(20, 240), st.integers(0, 4000))
    def develop(name: str, gain: float, offset: float, factor: int, base: int) -> None:
        pixels, mask = images.pixels(name), images.result(name).mask
        found = segment(png(pixels.astype(np.uint16) * np.uint16(factor) + np.uint16(base))).mask
        exact.add(dice(found, mask), f"{name} * {factor} + {base}")
        greys = np.rint(pixels * gain + offset)
        assume(((greys < 0) | (greys > 255)).mean() <= LOST)
        greys = greys.clip(0, 255).astype(np.uint8)
        clipped.add(dice(segment(png(greys)).mask, mask), f"{name} * {gain:.3f} + {offset:.1f}")

    develop()
    found = f"Dice {exact.line} where no grey is lost; {clipped.line} in 8 bits, gain 0.5 to 1.2"
    enter(ledger, images, "Gain and offset change little", len(exact.values) + len(clipped.values), found)
    exact.holds(0.998, 0.9995)
    clipped.holds(0.97, 0.995)


def test_scale_changes_little(images: Films, ledger: Ledger) -> None:
    masks = Measured()

    @examples(images, 6, 320)
    @given(images.names, st.floats(0.4, 3))
    def scale(name: str, factor: float) -> None:
        mask = images.result(name).mask
        found = segment(png(_resized(images.pixels(name), factor))).mask
        masks.add(dice(_mask_resized(found, mask), mask), f"{name} x {factor:.3f}")

    scale()
    enter(ledger, images, "Scale, from 0.4 to 3, changes little", len(masks.values), f"Dice {masks.line}")
    masks.holds(0.97, 0.99)


def test_higher_threshold_gives_a_subset(images: Films, ledger: Ledger) -> None:
    """To the pixel, with or without cleaning."""
    plain, cleaned = Measured(), Measured()
    step = st.one_of(st.floats(0.001, 0.05), st.floats(0.05, 0.9))

    @examples(images, 6, 320)
    @given(images.names, st.floats(0.3, 1.5), st.floats(0.02, 0.97), step)
    def raise_it(name: str, scale: float, low: float, step: float) -> None:
        film = png(_resized(images.pixels(name), scale))
        for clean, measured in ((False, plain), (True, cleaned)):
            below = segment(film, Options(low, clean=clean)).mask
            above = segment(film, Options(min(0.98, low + step), clean=clean)).mask
            outside = (above & ~below).sum() / max(1, above.sum())
            measured.add(1 - float(outside), f"{name} x {scale:.3f} at {low:.4f} and {step:.4f} more")

    raise_it()
    outside = sum(each < 1 for each in (*plain.values, *cleaned.values))
    found = f"{outside} not to the pixel; inside {plain.line}, cleaned {cleaned.line}"
    enter(ledger, images, "A higher threshold gives a subset", len(plain.values) + len(cleaned.values), found)
    plain.holds(1, 1)
    cleaned.holds(1, 1)


SIDES = st.one_of(st.integers(64, 1200), st.sampled_from((64, 65, 511, 512, 513, 1023, 1024, 1025, 4095, 16_384)))
MOST = 1_500_000
"""Most pixels of an example, to keep it fast."""
WEBP = 16_383
"""Largest side of a WebP in pixels."""


def _oriented(pixels: Grey, orientation: int, file_format: str) -> bytes:
    """Return pixels as they are stored for an EXIF orientation."""
    if file_format == "TIFF":
        return tiff(pixels, extratags=[(274, "H", 1, orientation, True)])
    exif = Image.Exif()
    exif[274] = orientation
    options: dict[str, Any] = {"quality": 95} if file_format == "JPEG" else {}
    return encode(Image.fromarray(pixels), file_format, exif=exif.tobytes(), **options)


def _shown(pixels: Grey, orientation: int) -> Grey:
    """Return stored pixels as Pillow shows them."""
    with Image.open(io.BytesIO(_oriented(pixels, orientation, "PNG"))) as image:
        from PIL import ImageOps

        return np.asarray(ImageOps.exif_transpose(image))


def test_mask_has_the_size_of_the_image(images: Films, ledger: Ledger) -> None:
    """For any size and file format; and the stored orientation makes no difference."""
    count = 0

    @examples(images, 6, 320)
    @given(images.names, SIDES, SIDES, st.integers(1, 8), st.sampled_from(["PNG", "TIFF", "JPEG", "WEBP"]))
    def store(name: str, height: int, width: int, orientation: int, file_format: str) -> None:
        nonlocal count
        height, width = (min(side, MOST // other) for side, other in ((height, width), (width, height)))
        if file_format == "WEBP":
            height, width = min(height, WEBP), min(width, WEBP)
        stored = np.asarray(Image.fromarray(images.pixels(name)).resize((width, height)))
        film = _oriented(stored, orientation, file_format)
        found = segment(film)
        size = (height, width) if orientation < 5 else (width, height)
        assert found.mask.shape == found.labels.shape == found.probability.shape == size
        with Image.open(io.BytesIO(mask_png(found.mask))) as image:
            assert image.size == size[::-1]
        if file_format in ("PNG", "TIFF"):
            assert np.array_equal(found.labels, segment(png(_shown(stored, orientation))).labels)
        count += 1

    store()
    enter(ledger, images, "The mask has the image's size and orientation", count, "all to the pixel")


def test_formats_of_one_array_agree(images: Films, ledger: Ledger) -> None:
    """Bit for bit if each decoder gives the same greys.

    The greys of a DICOM image are stretched to 16 bits. If they span all of them already, they stay as they are;
    otherwise rounding differs when the image is scaled to the network's grid.
    """
    stretched, count = Measured(), 0

    @examples(images, 6, 200)
    @given(images.names, st.floats(0.3, 2), st.sampled_from(["8 bits", "12 bits", "16 bits"]))
    def write(name: str, scale: float, depth: str) -> None:
        nonlocal count
        pixels: NDArray[Any] = _resized(images.pixels(name), scale)
        forms = [tiff, lambda each: tiff(each, compression="zlib"), lambda each: tiff(each, byteorder=">")]
        if depth == "8 bits":
            forms += [lambda each: encode(Image.fromarray(each), "BMP")]
            forms += [lambda each: encode(Image.fromarray(each), "WEBP", lossless=True, exact=True)]
        else:
            low, high = int(pixels.min()), int(pixels.max())
            top = 65535 if depth == "16 bits" else 4095
            pixels = ((pixels.astype(np.int64) - low) * top // (high - low)).astype(np.uint16)
        expected = segment(png(pixels))
        others = [segment(form(pixels)) for form in forms]
        assert all(np.array_equal(other.labels, expected.labels) for other in others)
        count += len(others) + 1
        found = segment(dicom(pixels))
        if depth == "16 bits":
            assert np.array_equal(found.labels, expected.labels)
            count += 1
        else:
            stretched.add(dice(found.mask, expected.mask), f"{name} x {scale:.3f}, {depth}")

    write()
    found = f"{count:,} to the bit; {len(stretched.values)} of DICOM stretched to 16 bits, Dice {stretched.line}"
    enter(ledger, images, "PNG, TIFF, BMP, WebP and DICOM of one array agree", count + len(stretched.values), found)
    stretched.holds(0.985, 0.998)
