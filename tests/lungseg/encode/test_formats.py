"""Each output format, read back by another program."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from films import dice, dicom, png, read_mask
from imagecodecs import png_decode
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pycocotools import mask as coco

from lungseg import errors
from lungseg.decode import decode
from lungseg.decode.bounds.png import OWN_KIND, OWN_TEXT, png_chunk
from lungseg.encode.formats import FORMATS, encode_each
from lungseg.pipeline.measure import measure_lungs
from lungseg.pipeline.options import Options
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.server.schemas import RunLengths, Segmentation


@pytest.fixture(scope="module")
def result(rg1: bytes) -> Result:
    return segment(rg1)


def encoded_as(name: str, result: Result) -> bytes:
    return FORMATS[name].encode(result)


def picture(data: bytes) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_labels_are_the_patients_lungs(result: Result) -> None:
    labels = picture(encoded_as("labels", result))
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels > 0, result.mask)
    # Read off the image by eye: its right lung is on the picture's left.
    assert labels[500, 480] == labels[1200, 500] == 1
    assert labels[500, 1250] == labels[1200, 1450] == 2


@pytest.mark.parametrize("name", [name for name, each in FORMATS.items() if each.media_type == "image/png"])
def test_own_png_is_no_chest_xray(name: str, result: Result) -> None:
    content = encoded_as(name, result)
    with Image.open(io.BytesIO(content)) as image:
        assert image.text["Software"] == "lung-segmentation"
    with pytest.raises(errors.OwnOutput):
        decode(content)


def test_mark_counts_only_as_text_chunk_before_the_image(rg1_png: bytes) -> None:
    text = png_chunk(OWN_KIND, OWN_TEXT)
    other = (
        png_chunk(OWN_KIND, OWN_TEXT + b" 2"),
        png_chunk(b"paDd", OWN_TEXT),
        png_chunk(b"tEXt", b"Comment\0" + OWN_TEXT),
    )
    for unmarked in (rg1_png, rg1_png[:33] + b"".join(other) + rg1_png[33:], rg1_png[:-12] + text + rg1_png[-12:]):
        assert decode(unmarked).height == 1955
    with pytest.raises(errors.OwnOutput):
        decode(rg1_png[:33] + b"".join(other) + text + rg1_png[33:])


def test_probability_keeps_16_bits(result: Result) -> None:
    probability = picture(encoded_as("probability", result))
    assert probability.dtype == np.uint16
    np.testing.assert_allclose(probability / 65535, result.probability, atol=1e-5)


def test_cutout_is_the_image_around_the_lungs(result: Result) -> None:
    cutout = picture(encoded_as("cutout", result))
    x, y, width, height = measure_lungs(result).both.box
    assert cutout.dtype == np.uint16
    assert height < cutout.shape[0] < 1955
    assert width < cutout.shape[1] < 1841
    rows = np.flatnonzero((result.radiograph.pixels == cutout[0, 0]).any(1))
    assert (rows < y).any()
    margin_y, margin_x = y - round(0.02 * 1955), x - round(0.02 * 1955)
    np.testing.assert_array_equal(cutout[:50, :50], result.radiograph.pixels[margin_y:, margin_x:][:50, :50])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_isolated_lungs_are_opaque_on_transparent_black(rg1_pixels: NDArray[np.uint16], dtype: type) -> None:
    pixels = (rg1_pixels[::4, ::4] // (256 if dtype is np.uint8 else 1)).astype(dtype)
    result = segment(png(pixels))
    content, brightest = encoded_as("isolated", result), np.iinfo(dtype).max
    grey, alpha = np.moveaxis(png_decode(content), 2, 0)
    assert grey.dtype == dtype
    np.testing.assert_array_equal(alpha, brightest * result.mask.astype(dtype))
    np.testing.assert_array_equal(grey, np.where(result.mask, result.radiograph.pixels, 0))
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == ("LA" if dtype is np.uint8 else "RGBA")  # Pillow has no mode for 16 bits with alpha
        expected = grey if dtype is np.uint8 else grey >> 8
        np.testing.assert_array_equal(np.asarray(image.convert("L")), expected)
        x, y, width, height = measure_lungs(result).both.box
        assert image.getbbox() == (x, y, x + width, y + height)


def test_document_matches_the_schema(result: Result) -> None:
    document = Segmentation.model_validate_json(encoded_as("json", result))
    assert document.verdict.decision == "accept"
    assert document.image.spacing_mm is None  # the file says 0\\0
    right, left, both = document.lungs.right, document.lungs.left, document.lungs.both
    assert right.pixels + left.pixels == both.pixels == int(result.mask.sum())
    assert document.lungs.right_to_left == pytest.approx(right.pixels / left.pixels, abs=1e-4)
    rows, columns = np.nonzero(result.mask)
    assert both.box == (columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert both.centroid == pytest.approx((columns.mean(), rows.mean()))


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1, "PixelSpacing")),
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1, "ImagerPixelSpacing")),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.2, 0.1]}, (0.2, 0.1, "ImagerPixelSpacing")),
        ({"PixelSpacing": [-1, 1]}, None),
        ({"PixelSpacing": "0.2"}, None),
    ],
)
def test_areas_in_mm2_need_a_spacing(
    rg1_pixels: NDArray[np.uint16], elements: dict[str, object], spacing: tuple[float, float, str] | None
) -> None:
    result = segment(dicom(np.ascontiguousarray(rg1_pixels[::4, ::4]), **elements))
    lungs, found = measure_lungs(result), result.radiograph.spacing
    if spacing is None:
        assert found is None
        assert lungs.right.mm2 is None
    else:
        assert (found.row, found.column, found.source) == spacing
        assert lungs.both.mm2 == pytest.approx(lungs.both.pixels * 0.02)
        assert lungs.right.mm2 + lungs.left.mm2 == pytest.approx(lungs.both.mm2)


def test_mirrored_image_has_its_right_lung_on_the_right(rg1_pixels: NDArray[np.uint16]) -> None:
    small = np.ascontiguousarray(rg1_pixels[::4, ::4])
    hung = segment(dicom(small, PatientOrientation=["L", "F"]))
    mirrored = segment(dicom(np.ascontiguousarray(small[:, ::-1]), PatientOrientation=["R", "F"]))
    assert dice(mirrored.labels[:, ::-1] == 1, hung.labels == 1) > 0.95
    assert [reason.code for reason in mirrored.verdict.reasons] == ["mirrored"]
    assert mirrored.verdict.decision == "review"


def test_drawn_contours_match_the_mask(result: Result) -> None:
    collection = json.loads(encoded_as("contours", result))
    assert [feature["properties"]["name"] for feature in collection["features"]] == ["right lung", "left lung"]
    drawn = Image.new("1", (collection["width"], collection["height"]))
    for feature in collection["features"]:
        outline, *holes = feature["geometry"]["coordinates"]
        ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in outline], fill=1)
        for hole in holes:
            ImageDraw.Draw(drawn).polygon([(x - 0.5, y - 0.5) for x, y in hole], fill=0)
    assert dice(np.asarray(drawn), result.mask) > 0.998


def test_decoded_run_lengths_match_the_mask(result: Result) -> None:
    lengths = RunLengths.model_validate_json(encoded_as("rle", result)).model_dump()
    for name, wanted in (("lungs", result.mask), ("right", result.labels == 1), ("left", result.labels == 2)):
        np.testing.assert_array_equal(coco.decode(lengths[name]), wanted)


def test_npz_contains_the_arrays(result: Result) -> None:
    with np.load(io.BytesIO(encoded_as("npz", result)), allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["mask"], result.mask)
        np.testing.assert_array_equal(arrays["labels"], result.labels)
        np.testing.assert_allclose(arrays["probability"], result.probability, atol=5e-4)
        assert arrays["spacing"].size == 0


def test_all_contains_every_format_that_the_image_allows(result: Result, rg1_png: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(encoded_as("all", result))) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            f"lungs{form.suffix}" for form in FORMATS.values() if form.name not in ("all", "preview")
        }
        np.testing.assert_array_equal(read_mask(archive.read("lungs.mask.png")), result.mask)
    with zipfile.ZipFile(io.BytesIO(encoded_as("all", segment(rg1_png)))) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".dcm")]
        assert "lungs.mask.png" in archive.namelist()


def test_cutout_of_empty_mask_is_an_error(rg1_png: bytes) -> None:
    noise = png(np.random.default_rng(1).integers(0, 255, (300, 300), np.uint8))
    result = segment(noise, Options(threshold=0.9999))
    assert not result.mask.any()
    with pytest.raises(errors.NoLung):
        encoded_as("cutout", result)
    with pytest.raises(errors.NoLung):
        encoded_as("isolated", result)


def test_threshold_out_of_range_is_rejected() -> None:
    for threshold in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            Options(threshold)
    for opacity in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="from 0 to 1"):
            Options(opacity=opacity)


def test_opacity_changes_the_drawn_formats_alone(rg1: bytes) -> None:
    stable = [name for name, each in FORMATS.items() if not each.varies]
    faint, strong = (encode_each(segment(rg1, Options(opacity=opacity)), stable)[0] for opacity in (0.1, 0.9))
    changed = {name for name in stable if faint[name] != strong[name]}
    assert changed == {"overlay", "dicom-sc"} == {name for name in stable if FORMATS[name].is_drawn}


def test_accept_names_one_format_per_media_type() -> None:
    accepted = [each.media_type for each in FORMATS.values() if each.accept]
    assert len(accepted) == len(set(accepted))
    assert set(accepted) == {each.media_type for each in FORMATS.values()}


def test_template_accepts_every_format() -> None:
    """The batch function always writes the JSON document, so its parameter does not list json."""
    template = (Path(__file__).parents[3] / "template.yaml").read_text()
    names = "|".join(name for name in FORMATS if name != "json")
    found = re.findall(r'AllowedPattern: "\^\(([a-z|-]+)\)\( \(([a-z|-]+)\)\)\*\$"', template)
    assert [set(each.split("|")) for pattern in found for each in pattern] == [set(names.split("|"))] * 2


def test_dicom_formats_name_their_sop_class(result: Result) -> None:
    named = {each.name: each.sop_class for each in FORMATS.values() if each.media_type == "application/dicom"}
    written = {name: pydicom.dcmread(io.BytesIO(FORMATS[name].encode(result))).SOPClassUID for name in named}
    assert written == named
    assert {each.name for each in FORMATS.values() if each.sop_class} == set(named)
