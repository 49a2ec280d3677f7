"""The decoders' self-test: it passes here, and names a decoder that fails or returns another picture."""

from __future__ import annotations

import numpy as np

from lungseg.decode.selftest import DecoderCheck, check_decoder, check_decoders, picture_file
from lungseg.model.selfcheck import draw_phantom


def test_every_decoder_passes() -> None:
    found = list(check_decoders(draw_phantom()))
    assert len(found) > 20
    assert [each for each in found if each.fault] == []


def test_failing_decoder_is_named() -> None:
    def broken() -> bytes:
        raise RuntimeError

    assert check_decoder("x", broken, draw_phantom()) == DecoderCheck("x", "cannot be read (RuntimeError)")


def test_wrong_picture_is_named() -> None:
    other = np.ascontiguousarray(draw_phantom()[::-1] // 2 + np.arange(128, dtype=np.uint8))
    found = check_decoder("x", lambda: picture_file(other, "PNG"), draw_phantom())
    assert found == DecoderCheck("x", "reads as another picture than was written")
