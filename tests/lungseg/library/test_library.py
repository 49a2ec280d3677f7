"""Results, models, many images and the segmenter of the Python API."""

from __future__ import annotations

import doctest
import importlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import png, read_mask
from PIL import Image

from lungseg import Model, ModelError, ProblemError, Result, Segmenter, errors, segment, segment_many
from lungseg.cli.main import main
from lungseg.decode import decode
from lungseg.encode.formats import FORMATS
from lungseg.library.model import loaded_models
from lungseg.library.segment import segment as library_segment
from lungseg.model.lung import LUNG_WEIGHTS
from lungseg.pipeline import segment as pipeline
from lungseg.pipeline.options import Options


@pytest.fixture(scope="module")
def found(rg1: bytes) -> Result:
    return segment(rg1)


def test_result_is_that_of_the_pipeline(small: bytes) -> None:
    ours = segment(small, threshold=0.6, clean=False, upright=False)
    theirs = pipeline.segment(small, Options(0.6, clean=False, upright=False))
    for name, each in FORMATS.items():
        if not each.is_dicom and not each.varies:
            assert ours.encode(name) == each.encode(theirs), name


def test_result_has_measurements(found: Result) -> None:
    both = found.areas.both
    assert both.pixels == found.mask.sum() == (found.labels > 0).sum()
    assert both.mm2 is None  # the file states no spacing
    assert found.areas.right.pixels + found.areas.left.pixels == both.pixels
    assert found.expected_dice == found.verdict.expected_dice is not None


def test_members_of_a_zip_are_named_after_their_image(small: bytes, tmp_path: Path) -> None:
    def members(path: Path) -> set[str]:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {name.partition(".mask")[0] for name in archive.namelist() if name.endswith(".mask.png")}

    image = tmp_path / "a b.png"
    image.write_bytes(small)
    assert members(segment(image).save(tmp_path / "x.zip")) == {"a b.png"}
    assert members(segment(small).save(tmp_path / "y.zip")) == {"y"}
    assert main(["segment", str(image), "--format", "all", "--format", "mask"]) == 0
    assert members(tmp_path / "a b.png.zip") == {"a b.png"}
    assert (tmp_path / "a b.png.mask.png").exists()


def test_repr_is_short(found: Result) -> None:
    assert re.fullmatch(
        r"<Result: 1841 x 1955 pixels, accept, expected Dice 0\.\d{3}, lungs cover 3\d\.\d%>", repr(found)
    )


def test_overlay_is_a_picture_and_a_small_one_in_notebooks(found: Result) -> None:
    picture = found.overlay()
    assert (picture.mode, picture.size) == ("RGB", (1841, 1955))
    buffer = io.BytesIO(found.encode("overlay"))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(Image.open(buffer).convert("RGB")))
    with pytest.raises(ValueError, match="from 0 to 1"):
        found.overlay(opacity=2)
    shown = found._repr_png_()
    assert max(Image.open(io.BytesIO(shown)).size) == 768
    with pytest.raises(errors.OwnOutput):
        decode(shown)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mask.png", "mask"),
        ("a.mask.png", "mask"),
        ("anything.png", "mask"),
        ("labels.png", "labels"),
        ("image.dcm.overlay.png", "overlay"),
        ("x.json", "json"),
        ("contours.json", "contours"),
        ("x.rle.json", "rle"),
        ("x.seg.dcm", "dicom-seg"),
        ("x.sc.dcm", "dicom-sc"),
        ("x.pr.dcm", "dicom-gsps"),
        ("x.sr.dcm", "dicom-sr"),
        ("x.npz", "npz"),
        ("x.zip", "all"),
    ],
)
def test_suffix_chooses_the_format(name: str, expected: str, found: Result, tmp_path: Path) -> None:
    path = found.save(tmp_path / name)
    assert path == tmp_path / name
    content = path.read_bytes()
    if expected == "json":
        assert json.loads(content)["image"]["width"] == 1841
    elif expected == "all":
        with zipfile.ZipFile(path) as archive:
            assert len(archive.namelist()) == sum(each.in_all for each in FORMATS.values())
    else:
        assert content == found.encode(expected)


def test_format_by_name_and_unknown_ones(found: Result, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(found.save(f"{tmp_path}/x", "mask").read_bytes()), found.mask)
    for name in ("x.jpg", "x", "x.dcm"):
        with pytest.raises(ValueError, match=r"use one of \.png, \.mask\.png, .*format= with one of mask, labels"):
            found.save(tmp_path / name)
    for wrong in (lambda: found.save(tmp_path / "x.png", "jpeg"), lambda: found.encode("jpeg")):
        with pytest.raises(ValueError, match=r"must be one of mask, labels.*not 'jpeg'"):
            wrong()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    with pytest.raises(FileNotFoundError):
        found.save(tmp_path / "no" / "mask.png")
    with pytest.raises(errors.NeedsDicom):
        segment(found.radiograph.pixels).save(tmp_path / "x.seg.dcm")


class TestModel:
    def test_shipped_names(self) -> None:
        assert Model.names() == ("lung_unet", "lung_unet_open")

    def test_model_by_name_path_and_object(self, small: bytes) -> None:
        model = Model.load("lung_unet_open")
        given = [model, "lung_unet_open", LUNG_WEIGHTS.with_name("lung_unet_open.onnx")]
        digests = {segment(small, model=each).model.sha256 for each in given}
        assert digests == {model.sha256} != {segment(small).model.sha256}
        assert re.fullmatch(r"Model\('lung_unet_open', (int8|fp32), sha256 [0-9a-f]{12}\)", repr(model))
        assert loaded_models("lung_unet_open") is loaded_models("lung_unet_open")

    def test_default_follows_the_setting(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert Model.load().name == "lung_unet"
        monkeypatch.setenv("LUNG_MODEL", "lung_unet_open")
        assert Model.load().name == "lung_unet_open"

    def test_unknown_name_lists_the_choices(self, small: bytes) -> None:
        for load in (Model.load, lambda name: segment(small, model=name)):
            with pytest.raises(ModelError, match=r"no model named foo\. Use lung_unet, lung_unet_open, or the path"):
                load("foo")
        with pytest.raises(ModelError, match=r"leads to no file\. Use lung_unet"):
            Model.load("no/such.onnx")
        with pytest.raises(ValueError, match="at least 1 thread"):
            Model.load(threads=0)

    def test_model_can_be_pickled(self) -> None:
        model = Model.load("lung_unet_open", threads=1)
        copied = pickle.loads(pickle.dumps(model))
        assert (copied, copied.sha256, copied.threads) == (model, model.sha256, 1)


class TestSegmentMany:
    def test_results_are_in_order_and_failures_stop_nothing(self, small: bytes, tmp_path: Path) -> None:
        (tmp_path / "image.png").write_bytes(small)
        images: list[Any] = [small, b"not an image", tmp_path / "image.png", "no.png", None, np.zeros((100, 100), bool)]
        outcomes = list(segment_many(images, workers=2))
        assert [image for image, _ in outcomes] == images
        kinds = [type(outcome) for _, outcome in outcomes]
        assert kinds == [Result, errors.UnsupportedFormat, Result, errors.Unreadable, TypeError, TypeError]
        assert isinstance(outcomes[1][1], ProblemError)
        expected = segment(small)
        for _, outcome in outcomes:
            if isinstance(outcome, Result):
                np.testing.assert_array_equal(outcome.bits, expected.bits)

    def test_few_images_are_read_ahead(self, small: bytes) -> None:
        read = 0

        def endless() -> Iterator[bytes]:
            nonlocal read
            while True:
                read += 1
                yield small

        outcomes = segment_many(endless(), workers=2)
        for count in range(1, 10):
            next(outcomes)
            assert read <= count + 4
        outcomes.close()  # type: ignore[attr-defined]

    def test_options_and_model_are_used(self, small: bytes) -> None:
        ((_, many),) = segment_many([small], workers=1, threshold=0.9, clean=False, model="lung_unet_open")
        one = segment(small, threshold=0.9, clean=False, model="lung_unet_open")
        assert isinstance(many, Result)
        np.testing.assert_array_equal(many.bits, one.bits)

    def test_wrong_choices_are_refused_at_once(self) -> None:
        with pytest.raises(ValueError, match="at least 1 worker"):
            segment_many([], workers=0)
        with pytest.raises(ValueError, match="between 0 and 1"):
            segment_many([], threshold=2)
        with pytest.raises(ModelError):
            segment_many([], model="foo")

    def test_generator_that_fails_ends_the_threads(self, small: bytes) -> None:
        def broken() -> Iterator[bytes]:
            yield small
            raise OSError("the list of images ended")

        with pytest.raises(OSError, match="the list"):
            list(segment_many(broken(), workers=1))


class TestSegmenter:
    def test_batch_of_objects(self, small: bytes, rg1: bytes) -> None:
        images = np.empty(3, object)
        images[:] = [small, rg1, b"not an image"]
        segmenter = pickle.loads(pickle.dumps(Segmenter(["mask", "dicom-seg"])))
        found = segmenter({"path": np.array(["a", "b", "c"]), "bytes": images})
        assert list(found) == ["path", "mask", "dicom-seg", "decision", "expected_dice", "error"]
        assert found["path"].tolist() == ["a", "b", "c"]
        assert [mask and mask == segment(data).encode() for mask, data in zip(found["mask"], images, strict=True)] == [
            True,
            True,
            None,
        ]
        assert found["error"].tolist() == ["needs-dicom", None, "unsupported-format"]
        assert found["decision"].tolist()[1:] == ["accept", None]
        assert np.isnan(found["expected_dice"]).tolist() == [False, False, True]
        again = pickle.loads(pickle.dumps(segmenter))  # after its model was loaded
        assert again({"bytes": images[:1]})["mask"][0] == found["mask"][0]

    def test_options_and_model_are_used(self, small: bytes) -> None:
        found = Segmenter(threshold=0.9, clean=False, model="lung_unet_open")({"bytes": [small]})
        assert found["mask"][0] == segment(small, threshold=0.9, clean=False, model="lung_unet_open").encode()

    def test_wrong_choices_are_refused_at_once(self) -> None:
        with pytest.raises(ValueError, match=r"must be one of mask, .*not 'jpeg'"):
            Segmenter(["jpeg"])
        with pytest.raises(ValueError, match="between 0 and 1"):
            Segmenter(threshold=1)
        with pytest.raises(KeyError, match="no column 'bytes'; its columns are 'image'"):
            Segmenter()({"image": []})


@pytest.mark.parametrize("module", ["model", "segment", "segmenter"])
def test_examples(module: str, rg1: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image.dcm").write_bytes(rg1)
    monkeypatch.chdir(tmp_path)
    names = {"segment": segment, "segment_many": segment_many}
    found = doctest.testmod(
        importlib.import_module(f"lungseg.library.{module}"), extraglobs=names, optionflags=doctest.ELLIPSIS
    )
    assert (found.failed, found.attempted > 0) == (0, True)


def test_public_function_is_the_librarys() -> None:
    assert segment is library_segment


def test_import_of_the_library_loads_no_pydicom_for_a_png(tmp_path: Path) -> None:
    (tmp_path / "ramp.png").write_bytes(png(np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)))
    program = "import sys; from lungseg import segment; segment('ramp.png'); print('pydicom' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == "False"
