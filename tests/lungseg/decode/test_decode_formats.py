"""The registry of input formats, and the texts that list them."""

from __future__ import annotations

from pathlib import Path

import pytest
from films import RAMP16, dicom

from lungseg.decode import decode
from lungseg.decode.formats import IMAGE_FORMATS, ImageFormat
from lungseg.decode.radiograph import Radiograph


def test_every_text_names_every_format() -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    assert all(each.name in readme for each in IMAGE_FORMATS)


def test_dicom_is_recognised_whatever_its_preamble() -> None:
    whole = dicom(RAMP16)
    for start in (b"II*\0", b"MM\0*", b"BM", b"RIFF\0\0\0\0WEBP"):
        assert decode(start + whole[len(start) :]).pixels.shape == RAMP16.shape


def test_new_format_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    new = ImageFormat("XRAY", "image/x-ray", lambda data: data == b"XRAY", bytes, lambda data, _: Radiograph(RAMP16))
    monkeypatch.setattr("lungseg.decode.IMAGE_FORMATS", (*IMAGE_FORMATS, new))
    assert decode(b"XRAY").pixels is RAMP16
