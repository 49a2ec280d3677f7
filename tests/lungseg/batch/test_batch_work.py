"""One image of a folder, in this process: what it leaves, which earlier outputs are valid, and what is to do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from films import RAMP8, png

from lungseg import __version__, errors
from lungseg.batch import process as process_module
from lungseg.batch.entry import MISSING_FILE, Entry, FileMark
from lungseg.batch.manifest import MANIFEST_NAME, Manifest
from lungseg.batch.process import (
    MANIFEST_VERSION,
    BatchSpec,
    FileSnapshot,
    ImageTask,
    is_done,
    plan_task,
    process_image,
    record_failure,
)
from lungseg.encode.png import mask_png
from lungseg.files import PARTIAL, read_film
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment

MASK, JSON, SEG, ERROR = ".mask.png", ".json", ".seg.dcm", ".error.json"

Ordered = Callable[..., BatchSpec]

SEEN = FileSnapshot(FileMark(5, 6, 7, 8), True)


@pytest.fixture
def ordered(tmp_path: Path) -> Ordered:
    """Makes orders for two folders that are there."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()

    def order(*formats: str, options: Options | None = None, models: tuple[str, ...] = ("a", "b")) -> BatchSpec:
        return BatchSpec(tmp_path / "in", tmp_path / "out", formats or ("mask",), options or Options(), models)

    return order


def put(order: BatchSpec, path: str, data: bytes) -> FileMark:
    """An image in the folder of images."""
    film = order.source / path
    film.parent.mkdir(exist_ok=True)
    film.write_bytes(data)
    return FileMark.of(film)


def lying(order: BatchSpec) -> set[str]:
    """What lies in the folder of outputs, the manifest left out."""
    files = (path for path in order.target.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    return {path.relative_to(order.target).as_posix() for path in files}


def known(order: BatchSpec, path: str) -> Entry | None:
    """The image's line in the manifest."""
    manifest = Manifest(order.target)
    try:
        return manifest.find(path)
    finally:
        manifest.close()


def entry_of(
    order: BatchSpec,
    mark: FileMark,
    outputs: dict[str, int],
    omitted: dict[str, str] | None = None,
    code: str | None = None,
) -> Entry:
    """What an earlier run knows of a.png."""
    problem = None if code is None else {"code": code, "detail": "as it was"}
    row = {"verdict": "accept", "reasons": ""} if code is None else None
    return Entry("a.png", mark, True, "digest", order.recipe, outputs, omitted or {}, row, problem)


class TestWork:
    def test_a_good_film_leaves_its_outputs_and_its_line(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("mask", "json")
        mark = put(order, "ward/a.png", small)
        found = process_image(plan_task("ward/a.png", None, order, False), order)
        assert lying(order) == {"ward/a.png.mask.png", "ward/a.png.json"}
        sizes = {suffix: (order.target / f"ward/a.png{suffix}").stat().st_size for suffix in (MASK, JSON)}
        digest = hashlib.sha256(small).hexdigest()
        assert found == Entry("ward/a.png", mark, False, digest, order.recipe, sizes, {}, found.row, None)
        said = json.loads((order.target / "ward/a.png.json").read_text())
        assert found.row is not None
        assert found.row["verdict"] == said["verdict"]["decision"] == "accept"
        assert found.row["both_px"] == said["lungs"]["both"]["pixels"] > 1000
        assert known(order, "ward/a.png") == found

    def test_options_reach_the_film(self, ordered: Ordered, small: bytes) -> None:
        pixels = []
        for threshold in (0.1, 0.9):
            order = ordered("mask", options=Options(threshold=threshold))
            put(order, "a.png", small)
            row = process_image(plan_task("a.png", None, order, True), order).row
            assert row is not None
            pixels.append(row["both_px"])
        assert pixels[0] > pixels[1] > 0

    def test_a_refused_film_leaves_a_problem_in_place_of_old_outputs(self, ordered: Ordered) -> None:
        order = ordered("mask", "json")
        mark = put(order, "a.png", b"no image")
        for suffix in (MASK, JSON):
            (order.target / f"a.png{suffix}").write_bytes(b"of another image")
        found = process_image(plan_task("a.png", None, order, False), order)
        assert lying(order) == {"a.png.error.json"}
        content = (order.target / "a.png.error.json").read_bytes()
        problem = json.loads(content)
        assert problem["code"] == "unsupported-format"
        assert content.count(b"\n") > 5  # to be read by a person
        shown = {"code": problem["code"], "detail": problem["detail"]}
        assert found.problem == shown
        assert (found.mark, found.outputs, found.row) == (mark, {ERROR: len(content)}, None)
        assert known(order, "a.png") == found

    def test_what_goes_wrong_unforeseen_is_told_without_its_text(
        self, ordered: Ordered, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(data: bytes, options: Options) -> None:
            raise LookupError("the patient's name")

        monkeypatch.setattr(process_module, "segment", broken)
        order = ordered()
        mark = put(order, "a.png", small)
        found = process_image(plan_task("a.png", None, order, False), order)
        assert found.problem == {"code": "internal-error", "detail": "An unexpected LookupError stopped it."}
        assert found.mark == mark
        assert b"patient" not in (order.target / "a.png.error.json").read_bytes()

    def test_a_form_that_cannot_be_made_is_left_out(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("mask", "dicom-seg")
        put(order, "a.png", small)
        found = process_image(plan_task("a.png", None, order, False), order)
        assert found.omitted == {"dicom-seg": "needs-dicom"}
        assert found.problem is None
        assert set(found.outputs) == {MASK}
        assert is_done(found, order)

    def test_if_no_form_can_be_made_that_is_the_films_problem(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("dicom-seg")
        mark = put(order, "a.png", small)
        found = process_image(plan_task("a.png", None, order, False), order)
        assert found.problem is not None
        assert found.problem["code"] == "needs-dicom"
        assert found.omitted == {"dicom-seg": "needs-dicom"}
        assert (found.mark, found.row, set(found.outputs)) == (mark, None, {ERROR})
        assert known(order, "a.png") == found
        assert is_done(found, order)

    def test_what_an_earlier_run_made_and_could_not_make_is_remembered(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("mask", "json")
        put(order, "a.png", small)
        (order.target / "a.png.mask.png").write_bytes(b"kept")
        # Neither a kept output nor a form known to be impossible is lost when another form is added.
        digest, known = hashlib.sha256(small).hexdigest(), {"dicom-seg": "needs-dicom"}
        asked = ImageTask("a.png", ("json",), {MASK: 4}, known, frozenset({JSON, ERROR}), digest)
        found = process_image(asked, order)
        assert found.omitted == {"dicom-seg": "needs-dicom"}
        assert set(found.outputs) == {MASK, JSON}
        assert found.outputs[MASK] == 4
        assert (order.target / "a.png.mask.png").read_bytes() == b"kept"
        # Nor is an image failed whose added form is impossible.
        found = process_image(ImageTask("a.png", ("dicom-seg",), {MASK: 4}, sha256=digest), order)
        assert (found.problem, found.outputs) == (None, {MASK: 4})

    def test_an_output_in_the_way_is_the_films_problem(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("mask", "json")
        mark = put(order, "a.png", small)
        (order.target / "a.png.mask.png").mkdir()
        (order.target / "a.png.json").write_bytes(b"of an earlier image")
        found = process_image(plan_task("a.png", None, order, False), order)
        assert found.problem == {"code": "unwritable", "detail": "An output cannot be written (Is a directory)."}
        assert found.mark == mark
        assert lying(order) == {"a.png.error.json"}
        assert not is_done(found, order)

    def test_where_not_even_a_problem_can_be_written_the_run_goes_on(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("mask")
        mark = put(order, "ward/a.png", small)
        (order.target / "ward").write_bytes(b"a file where a folder must go")
        found = process_image(plan_task("ward/a.png", None, order, False), order)
        assert found.problem is not None
        assert (found.problem["code"], found.mark, found.outputs) == ("unwritable", mark, {})
        assert (found.recipe, found.omitted, found.row) == (order.recipe, {}, None)
        assert known(order, "ward/a.png") == found
        # Without a folder for the manifest either, it is still told.
        lost = BatchSpec(order.source, order.target / "none", order.formats, order.options, order.models)
        (order.target / "none").write_bytes(b"")
        told = process_image(plan_task("ward/a.png", None, lost, False), lost)
        assert told.problem is not None
        assert told.problem["code"] == "unwritable"

    def test_nothing_is_made_where_a_link_leads_out_of_the_folder(self, ordered: Ordered, small: bytes) -> None:
        order = ordered("mask")
        (order.source / "ward").mkdir()
        put(order, "ward/deep/a.png", small)
        elsewhere = order.target.parent / "elsewhere"
        elsewhere.mkdir()
        (order.target / "ward").symlink_to(elsewhere)
        found = process_image(plan_task("ward/deep/a.png", None, order, False), order)
        assert found.problem == {
            "code": "unwritable",
            "detail": "An output cannot be written (a link leads out of the folder of outputs).",
        }
        assert not list(elsewhere.iterdir())

    def test_link_that_is_turned_while_it_is_read_proves_nothing(
        self, ordered: Ordered, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order = ordered("mask")
        for name in ("one", "other"):
            put(order, f"../{name}", small)
        (order.source / "a.png").symlink_to("../one")
        monkeypatch.setattr(FileMark, "is_settled", lambda _: True)
        assert process_image(plan_task("a.png", None, order, False), order).settled

        def turned(path: Path) -> bytes:
            path.unlink()
            path.symlink_to("../other")
            return read_film(path)

        monkeypatch.setattr("lungseg.batch.process.read_film", turned)
        assert not process_image(plan_task("a.png", None, order, False), order).settled

    def test_image_that_is_replaced_before_it_is_read_keeps_no_output(self, ordered: Ordered, small: bytes) -> None:
        """A worker may take seconds to start; the mask of the one would lie beside the measures of the other."""
        put(ordered(), "a.png", small)
        first = process_image(plan_task("a.png", None, ordered("mask", "npz"), False), ordered("mask", "npz"))
        order = ordered("mask", "json")
        wanted = plan_task("a.png", first, order, False)
        assert (wanted.formats, set(wanted.kept)) == (("json",), {MASK, ".npz"})
        put(order, "a.png", png(RAMP8))
        found = process_image(wanted, order)
        assert set(found.outputs) == {MASK, JSON}
        assert lying(order) == {f"a.png{suffix}" for suffix in (MASK, JSON)}
        assert (order.target / "a.png.mask.png").read_bytes() == mask_png(segment(png(RAMP8)).mask)

    def test_outputs_that_do_not_hold_go_even_if_no_problem_can_be_written(
        self, ordered: Ordered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order = ordered("mask")
        put(order, "a.png", b"no image")
        (order.target / "a.png.mask.png").write_bytes(b"of another image")
        (order.target / "a.png.error.json").mkdir()
        found = process_image(plan_task("a.png", None, order, False), order)
        assert found.problem is not None
        assert lying(order) == set()
        assert known(order, "a.png") == found

    @pytest.mark.parametrize(
        ("error", "left"),
        [(errors.Unreadable("x"), {MASK, ERROR}), (errors.DamagedImage("x"), {ERROR})],
    )
    def test_a_film_out_of_reach_keeps_its_outputs_and_a_bad_one_does_not(
        self, ordered: Ordered, error: errors.ProblemError, left: set[str]
    ) -> None:
        order = ordered("mask")
        (order.target / "a.png.mask.png").write_bytes(b"kept")
        found = record_failure(ImageTask("a.png", (), {MASK: 4}, stale=frozenset({ERROR})), order, error, SEEN)
        assert lying(order) == {f"a.png{suffix}" for suffix in left}
        assert set(found.outputs) == left
        assert (found.mark, found.problem) == (SEEN.mark, {"code": error.code, "detail": "x"})

    def test_what_was_found_impossible_is_remembered_with_a_failure(self, ordered: Ordered) -> None:
        order = ordered("mask")
        omitted = {"dicom-seg": "needs-dicom"}
        assert (
            record_failure(
                ImageTask("a.png", ()), order, errors.NeedsDicom("x"), FileSnapshot(MISSING_FILE, False), omitted
            ).omitted
            == omitted
        )
        (order.target / "a.png.error.json").unlink()
        (order.target / "a.png.error.json").mkdir()
        assert (
            record_failure(
                ImageTask("a.png", ()), order, errors.NeedsDicom("x"), FileSnapshot(MISSING_FILE, False), omitted
            ).omitted
            == omitted
        )

    def test_at_no_moment_is_there_an_output_that_the_manifest_does_not_know(
        self, ordered: Ordered, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order = ordered("mask", "json")
        put(order, "a.png", small)
        for suffix in (MASK, JSON):
            (order.target / f"a.png{suffix}").write_bytes(b"of another image")
        seen: list[set[str]] = []

        def killed(target: Path, entry: Entry) -> None:
            seen.append(lying(order))
            raise KeyboardInterrupt

        monkeypatch.setattr(process_module, "append_entry", killed)
        with pytest.raises(KeyboardInterrupt):
            process_image(plan_task("a.png", None, order, False), order)
        (before,) = seen
        # Both outputs are whole by then, under names that are nobody's; what was there before is gone.
        assert len(before) == 2
        assert all(name.startswith(PARTIAL) for name in before)
        assert lying(order) == set()


class TestDone:
    @pytest.fixture
    def order(self, ordered: Ordered) -> BatchSpec:
        """For one image, whose mask is there with three bytes."""
        order = ordered("mask")
        (order.target / "a.png.mask.png").write_bytes(b"123")
        return order

    def test_an_unchanged_film_with_all_its_outputs_is(self, order: BatchSpec, ordered: Ordered) -> None:
        mark = put(order, "a.png", b"film")
        assert is_done(entry_of(order, mark, {MASK: 3}), order)
        assert not is_done(entry_of(order, mark, {MASK: 4}), order)
        assert not is_done(entry_of(order, mark, {}), order)
        for name in ("size", "mtime_ns", "ctime_ns", "inode"):
            other = replace(mark, **{name: getattr(mark, name) + 1})
            assert not is_done(entry_of(order, other, {MASK: 3}), order)

    def test_a_film_of_other_marks_and_the_same_bytes_is(self, order: BatchSpec) -> None:
        """Copied to another disk, or touched: its bytes are read, and it is not segmented again."""
        mark = put(order, "a.png", b"film")
        digest = hashlib.sha256(b"film").hexdigest()
        entry = replace(entry_of(order, mark, {MASK: 3}), sha256=digest)
        for name in ("mtime_ns", "ctime_ns", "inode"):
            assert is_done(replace(entry, mark=replace(mark, **{name: getattr(mark, name) + 1})), order)
        assert not is_done(replace(entry, mark=replace(mark, size=5)), order)

    def test_a_film_that_was_read_right_after_a_change_is_read_again(self, order: BatchSpec) -> None:
        mark = put(order, "a.png", b"film")
        entry = replace(entry_of(order, mark, {MASK: 3}), settled=False)
        assert not is_done(entry, order)
        assert is_done(replace(entry, sha256=hashlib.sha256(b"film").hexdigest()), order)

    def test_all_formats_must_be_there_but_those_that_cannot_be_made(self, order: BatchSpec) -> None:
        mark = put(order, "a.png", b"film")
        both = BatchSpec(order.source, order.target, ("mask", "dicom-seg"), order.options, order.models)
        assert not is_done(entry_of(order, mark, {MASK: 3}), both)
        assert is_done(entry_of(order, mark, {MASK: 3}, {"dicom-seg": "needs-dicom"}), both)

    @pytest.mark.parametrize("code", ["damaged-film", "unsupported-format", "needs-dicom"])
    def test_a_refused_film_is_while_its_problem_lies_there(self, order: BatchSpec, code: str) -> None:
        mark = put(order, "a.png", b"film")
        refused = entry_of(order, mark, {ERROR: 2}, code=code)
        assert not is_done(refused, order)
        (order.target / "a.png.error.json").write_bytes(b"{}")
        assert is_done(refused, order)
        assert not is_done(entry_of(order, mark, {MASK: 3}, code=code), order)

    @pytest.mark.parametrize("code", ["unreadable", "unwritable", "internal-error"])
    def test_a_failure_that_says_nothing_of_the_film_is_tried_again(self, order: BatchSpec, code: str) -> None:
        mark = put(order, "a.png", b"film")
        (order.target / "a.png.error.json").write_bytes(b"{}")
        assert not is_done(entry_of(order, mark, {ERROR: 2, MASK: 3}, code=code), order)

    def test_a_film_of_which_one_form_was_impossible_needs_the_others(self, order: BatchSpec) -> None:
        mark = put(order, "a.png", b"film")
        (order.target / "a.png.error.json").write_bytes(b"{}")
        refused = entry_of(order, mark, {ERROR: 2}, {"dicom-seg": "needs-dicom"}, code="needs-dicom")
        assert not is_done(refused, order)
        only = BatchSpec(order.source, order.target, ("dicom-seg",), order.options, order.models)
        assert is_done(refused, only)

    @pytest.mark.parametrize(
        "changed",
        [{"options": Options(threshold=0.3)}, {"options": Options(clean=False)}, {"models": ("a", "c")}],
    )
    def test_another_recipe_makes_another_film(
        self, order: BatchSpec, ordered: Ordered, changed: dict[str, object]
    ) -> None:
        parts = {"options": order.options, "models": order.models} | changed
        other = BatchSpec(order.source, order.target, order.formats, **parts)  # type: ignore[arg-type]
        assert other.recipe != order.recipe
        mark = put(order, "a.png", b"film")
        assert not is_done(entry_of(order, mark, {MASK: 3}), other)

    def test_a_recipe_is_of_this_version_and_not_of_the_folders(
        self, order: BatchSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere, recipe = BatchSpec(Path("x"), Path("y"), ("json",), order.options, order.models), order.recipe
        assert elsewhere.recipe == recipe
        for name, value in (("__version__", __version__ + "1"), ("MANIFEST_VERSION", MANIFEST_VERSION + 1)):
            with monkeypatch.context() as patch:
                patch.setattr(process_module, name, value)
                assert elsewhere.recipe != recipe


class TestJob:
    def test_of_a_film_that_is_not_known_everything_is_to_do(self, ordered: Ordered) -> None:
        order = ordered("mask", "json")
        assert plan_task("a.png", None, order, False) == ImageTask(
            "a.png", ("mask", "json"), {}, {}, frozenset({MASK, JSON, ERROR})
        )

    def test_what_holds_is_kept(self, ordered: Ordered) -> None:
        order = ordered("mask", "json")
        mark = put(order, "a.png", b"film")
        (order.target / "a.png.mask.png").write_bytes(b"123")
        (order.target / "a.png.seg.dcm").write_bytes(b"1234")
        (order.target / "a.png.error.json").write_bytes(b"{}")
        entry = entry_of(order, mark, {MASK: 3, SEG: 4, ERROR: 2}, {"npz": "no-lung"})
        assert plan_task("a.png", entry, order, False) == ImageTask(
            "a.png", ("json",), {MASK: 3, SEG: 4}, {"npz": "no-lung"}, frozenset({JSON, ERROR}), "digest"
        )
        # Asked to do it again: all that is asked for is made anew, and nothing else is touched.
        assert plan_task("a.png", entry, order, True) == ImageTask(
            "a.png", ("mask", "json"), {SEG: 4}, {"npz": "no-lung"}, frozenset({MASK, JSON, ERROR}), "digest"
        )

    def test_nothing_holds_of_a_changed_film_or_another_recipe(self, ordered: Ordered) -> None:
        order = ordered("mask")
        mark = put(order, "a.png", b"film")
        (order.target / "a.png.mask.png").write_bytes(b"123")
        (order.target / "a.png.npz").write_bytes(b"1234")
        outputs = {MASK: 3, ".npz": 4}
        everything = ImageTask("a.png", ("mask",), {}, {}, frozenset({MASK, ERROR, ".npz"}))
        changed = entry_of(order, replace(mark, mtime_ns=1), outputs, {"rle": "x"})
        assert plan_task("a.png", changed, order, False) == everything
        other = BatchSpec(order.source, order.target, order.formats, order.options, ("other",))
        assert plan_task("a.png", entry_of(order, mark, outputs, {"rle": "x"}), other, False) == everything

    def test_a_film_that_is_out_of_reach_has_not_changed(self, ordered: Ordered) -> None:
        order = ordered("mask", "json")
        (order.target / "a.png.mask.png").write_bytes(b"123")
        entry = entry_of(order, FileMark(4, 5, 6, 7), {MASK: 3})
        assert plan_task("a.png", entry, order, False) == ImageTask(
            "a.png", ("json",), {MASK: 3}, {}, frozenset({JSON, ERROR}), "digest"
        )
