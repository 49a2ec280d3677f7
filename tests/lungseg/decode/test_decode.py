"""Files that are rejected before decoding."""

from __future__ import annotations

import numpy as np
import pytest
from films import RAMP8, RAMP16, dicom, encode, png, tiff
from PIL import Image

from lungseg import errors, limits
from lungseg.decode import decode
from lungseg.decode.bounds.png import PNG_SIGNATURE


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.EmptyBody),
        (b"this is a text file, not an image", errors.UnsupportedFormat),
        (b"GIF89a" + bytes(500), errors.UnsupportedFormat),
        (PNG_SIGNATURE.decode("utf-8", "replace").encode() + bytes(500), errors.MangledBody),
        (dicom(RAMP16).decode("utf-8", "replace").encode(), errors.MangledBody),
        (tiff(RAMP16).decode("utf-8", "replace").encode(), errors.MangledBody),
        (encode(Image.fromarray(RAMP8), "BMP").decode("utf-8", "replace").encode(), errors.MangledBody),
        (b"\xff\xd8\xff\xe0".decode("utf-8", "replace").encode() + bytes(500), errors.MangledBody),
        (png(np.zeros((1, 1), np.uint8)), errors.TooSmall),
        (png(np.zeros((63, 500), np.uint8)), errors.TooSmall),
        (bytes(limits.MAX_BYTES + 1), errors.TooLarge),
    ],
)
def test_invalid_file_is_rejected(data: bytes, error: type[errors.ProblemError]) -> None:
    with pytest.raises(error):
        decode(data)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns of this test's image
def test_error_quotes_nothing_of_the_image() -> None:
    secret = "CANARY^PATIENT"
    image = dicom(RAMP16, PatientName=secret, PhotometricInterpretation=secret[:16])
    with pytest.raises(errors.ProblemError) as caught:
        decode(image)
    assert "CANARY" not in caught.value.line()
    assert caught.value.__cause__ is None
