"""No two images ever share an output."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import ERROR_SUFFIX, is_output, output_name, output_path

SUFFIXES = [ERROR_SUFFIX, *(each.suffix for each in FORMATS.values())]
ENDS = ["", *SUFFIXES, *(suffix.rpartition(".")[0] for suffix in SUFFIXES)]

films = st.builds(
    lambda stem, ends: stem + "".join(ends), st.text("ab.~/", min_size=1, max_size=4), st.lists(st.sampled_from(ENDS))
)


@settings(max_examples=2000, deadline=None)
@given(st.sets(films, min_size=2, max_size=8))
@example({"a", "a.rle", "a.contours", "a.error"})
def test_films_never_meet_in_an_output(names: set[str]) -> None:
    outputs = [output_name(name, suffix) for name in names for suffix in SUFFIXES]
    assert len(set(outputs)) == len(outputs)


@settings(deadline=None)
@given(films.filter(lambda name: "/" not in name))
def test_output_is_told_from_an_image_beside_its_own_image_alone(name: str) -> None:
    for suffix in SUFFIXES:
        assert is_output(output_name(name, suffix), {name})
        assert not is_output(output_name(name, suffix), {f"{name}2"})
    assert not is_output(name, {name})


def test_most_names_are_kept_whole() -> None:
    assert output_name("in/a b.dcm", ".mask.png") == "in/a b.dcm.mask.png"
    assert output_name("a.rle", ".json") != "a.rle.json"


@given(st.text("aé🫁", min_size=200, max_size=400), st.text("aé🫁", min_size=200, max_size=400))
def test_names_that_are_too_long_are_cut_and_still_differ(one: str, other: str) -> None:
    for suffix in SUFFIXES:
        first, second = output_name(one, suffix, 512), output_name(other, suffix, 512)
        assert len(first.encode()) <= 512
        assert (first == second) == (one == other)


def test_no_folder_is_in_the_way_of_an_output() -> None:
    assert output_path("ward/a.png", ".mask.png") == "ward/a.png.mask.png"
    for suffix in SUFFIXES:
        folder = output_path(f"a.png{suffix}/b.png", ".mask.png").partition("/")[0]
        assert folder not in {output_path("a.png", each) for each in SUFFIXES}
        assert len(output_path(f"{'a' * 240}{suffix}/b.png", ".mask.png").partition("/")[0]) <= 255


def test_a_reserved_end_leaves_no_name_too_long() -> None:
    """What tells it apart may be what makes it too long."""
    for length in range(450, 513):
        film = "k" * (length - len(".error")) + ".error"
        assert all(len(output_name(film, suffix, 512)) <= 512 for suffix in SUFFIXES)
