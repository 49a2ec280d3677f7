"""Outputs of two images never have the same name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import ERROR_SUFFIX, MAX_NAME_BYTES, archive_stem, is_output, output_name, output_path

SUFFIXES = [ERROR_SUFFIX, *(each.suffix for each in FORMATS.values())]
ENDS = ["", *SUFFIXES, *(suffix.rpartition(".")[0] for suffix in SUFFIXES)]

images = st.builds(
    lambda stem, ends: stem + "".join(ends), st.text("ab.~/", min_size=1, max_size=4), st.lists(st.sampled_from(ENDS))
)


@settings(max_examples=2000, deadline=None)
@given(st.sets(images, min_size=2, max_size=8))
@example({"a", "a.rle", "a.contours", "a.error"})
def test_outputs_of_different_images_never_collide(names: set[str]) -> None:
    outputs = [output_name(name, suffix) for name in names for suffix in SUFFIXES]
    assert len(set(outputs)) == len(outputs)


@settings(deadline=None)
@given(images.filter(lambda name: "/" not in name))
def test_output_is_recognised_only_next_to_its_image(name: str) -> None:
    for suffix in SUFFIXES:
        assert is_output(output_name(name, suffix), {name})
        assert not is_output(output_name(name, suffix), {f"{name}2"})
    assert not is_output(name, {name})


def test_usual_names_are_kept() -> None:
    assert output_name("in/a b.dcm", ".mask.png") == "in/a b.dcm.mask.png"
    assert output_name("a.rle", ".json") != "a.rle.json"


@given(st.text("aé🫁", min_size=200, max_size=400), st.text("aé🫁", min_size=200, max_size=400))
def test_long_names_are_truncated_and_still_differ(one: str, other: str) -> None:
    for suffix in SUFFIXES:
        first, second = output_name(one, suffix, 512), output_name(other, suffix, 512)
        assert len(first.encode()) <= 512
        assert (first == second) == (one == other)


def test_folders_never_collide_with_outputs() -> None:
    assert output_path("ward/a.png", ".mask.png") == "ward/a.png.mask.png"
    for suffix in SUFFIXES:
        folder = output_path(f"a.png{suffix}/b.png", ".mask.png").partition("/")[0]
        assert folder not in {output_path("a.png", each) for each in SUFFIXES}
        assert len(output_path(f"{'a' * 240}{suffix}/b.png", ".mask.png").partition("/")[0]) <= 255


def test_reserved_end_keeps_names_within_the_limit() -> None:
    """The inserted digest may make a name too long."""
    for length in range(450, 513):
        image = "k" * (length - len(".error")) + ".error"
        assert all(len(output_name(image, suffix, 512)) <= 512 for suffix in SUFFIXES)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("ward/image.dcm", "image.dcm"),
        ("a.rle", f"a.rle~{hashlib.sha256(b'a.rle').hexdigest()[:16]}"),
        ("a:b.png", f"a_b.png~{hashlib.sha256(b'a:b.png').hexdigest()[:16]}"),
        ("a\udcff.png", f"a.png~{hashlib.sha256(b'a' + bytes([255]) + b'.png').hexdigest()[:16]}"),
    ],
)
def test_archive_stem_can_be_a_files_name(path: str, stem: str) -> None:
    assert archive_stem(path) == stem
    assert len(archive_stem(f"{'ä' * 120}.png").encode()) + len(".probability.png") <= MAX_NAME_BYTES
