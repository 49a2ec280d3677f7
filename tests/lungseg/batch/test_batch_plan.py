"""What an earlier run has done, and what is left to do for an image."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from batch_folder import ERROR, JSON, MASK, SEG, MakeSpec, earlier_entry, mark_output, put_image

from lungseg import __version__
from lungseg.batch import plan as plan_module
from lungseg.batch.file_mark import FileMark
from lungseg.batch.plan import MANIFEST_VERSION, BatchSpec, ImageTask, is_done, plan_task
from lungseg.batch.table import TABLE_COLUMNS
from lungseg.pipeline import recipe as recipe_module
from lungseg.pipeline.options import Options

MASK_MARK, SEG_MARK, ERROR_MARK = map(mark_output, (b"123", b"1234", b"{}"))

FULL_ROW = {name: 1 for name in TABLE_COLUMNS if name != "path"} | {"verdict": "accept", "reasons": ""}


class TestIsDone:
    @pytest.fixture
    def spec(self, make_spec: MakeSpec) -> BatchSpec:
        """For one image, whose mask exists and has three bytes."""
        spec = make_spec("mask")
        (spec.target / "a.png.mask.png").write_bytes(b"123")
        return spec

    def test_unchanged_image_with_all_outputs_is_done(self, spec: BatchSpec) -> None:
        mark = put_image(spec, "a.png", b"data")
        assert is_done(earlier_entry(spec, mark, {MASK: MASK_MARK}), spec)
        assert not is_done(earlier_entry(spec, mark, {MASK: mark_output(b"other")}), spec)
        assert not is_done(earlier_entry(spec, mark, {}), spec)
        for name in ("size", "mtime_ns", "ctime_ns", "inode"):
            other = replace(mark, **{name: getattr(mark, name) + 1})
            assert not is_done(earlier_entry(spec, other, {MASK: MASK_MARK}), spec)

    def test_output_with_other_bytes_of_the_same_size_is_not_kept(self, spec: BatchSpec) -> None:
        mark = put_image(spec, "a.png", b"data")
        (spec.target / "a.png.mask.png").write_bytes(b"321")
        assert not is_done(earlier_entry(spec, mark, {MASK: MASK_MARK}), spec)

    def test_image_with_another_mark_and_the_same_bytes_is_done(self, spec: BatchSpec) -> None:
        """If it was copied to another disk, or touched, its bytes are read, and it is not segmented again."""
        mark = put_image(spec, "a.png", b"data")
        digest = hashlib.sha256(b"data").hexdigest()
        entry = replace(earlier_entry(spec, mark, {MASK: MASK_MARK}), sha256=digest)
        for name in ("mtime_ns", "ctime_ns", "inode"):
            assert is_done(replace(entry, mark=replace(mark, **{name: getattr(mark, name) + 1})), spec)
        assert not is_done(replace(entry, mark=replace(mark, size=5)), spec)

    def test_image_read_right_after_a_change_is_read_again(self, spec: BatchSpec) -> None:
        mark = put_image(spec, "a.png", b"data")
        entry = replace(earlier_entry(spec, mark, {MASK: MASK_MARK}), settled=False)
        assert not is_done(entry, spec)
        assert is_done(replace(entry, sha256=hashlib.sha256(b"data").hexdigest()), spec)

    def test_every_possible_format_is_required(self, spec: BatchSpec) -> None:
        mark = put_image(spec, "a.png", b"data")
        both = replace(spec, formats=("mask", "dicom-seg"))
        assert not is_done(earlier_entry(spec, mark, {MASK: MASK_MARK}), both)
        assert is_done(earlier_entry(spec, mark, {MASK: MASK_MARK}, {"dicom-seg": "needs-dicom"}), both)

    @pytest.mark.parametrize("code", ["damaged-film", "unsupported-format", "needs-dicom"])
    def test_refused_image_is_done_while_its_problem_document_exists(self, spec: BatchSpec, code: str) -> None:
        mark = put_image(spec, "a.png", b"data")
        refused = earlier_entry(spec, mark, {ERROR: ERROR_MARK}, code=code)
        assert not is_done(refused, spec)
        (spec.target / "a.png.error.json").write_bytes(b"{}")
        assert is_done(refused, spec)
        assert not is_done(earlier_entry(spec, mark, {MASK: MASK_MARK}, code=code), spec)

    @pytest.mark.parametrize("code", ["unreadable", "unwritable", "internal-error"])
    def test_failure_unrelated_to_the_image_is_retried(self, spec: BatchSpec, code: str) -> None:
        mark = put_image(spec, "a.png", b"data")
        (spec.target / "a.png.error.json").write_bytes(b"{}")
        assert not is_done(earlier_entry(spec, mark, {ERROR: ERROR_MARK, MASK: MASK_MARK}, code=code), spec)

    def test_image_with_an_impossible_format_needs_the_others(self, spec: BatchSpec) -> None:
        mark = put_image(spec, "a.png", b"data")
        (spec.target / "a.png.error.json").write_bytes(b"{}")
        refused = earlier_entry(spec, mark, {ERROR: ERROR_MARK}, {"dicom-seg": "needs-dicom"}, code="needs-dicom")
        assert not is_done(refused, spec)
        assert is_done(refused, replace(spec, formats=("dicom-seg",)))

    def test_unmeasured_image_is_not_done_if_the_table_is_requested(self, spec: BatchSpec) -> None:
        mark = put_image(spec, "a.png", b"data")
        with_table = replace(spec, has_table=True)
        unmeasured = earlier_entry(spec, mark, {MASK: MASK_MARK})
        assert not is_done(unmeasured, with_table)
        measured = replace(unmeasured, outcome=FULL_ROW)
        assert is_done(measured, with_table)
        assert is_done(measured, spec)
        (spec.target / "a.png.error.json").write_bytes(b"{}")
        assert is_done(earlier_entry(spec, mark, {ERROR: ERROR_MARK}, code="too-small"), with_table)

    @pytest.mark.parametrize(
        "changed",
        [{"options": Options(threshold=0.3)}, {"options": Options(clean=False)}, {"models": ("a", "c")}],
    )
    def test_image_of_another_recipe_is_not_done(self, spec: BatchSpec, changed: dict[str, Any]) -> None:
        other = replace(spec, **changed)
        assert other.recipe != spec.recipe
        mark = put_image(spec, "a.png", b"data")
        assert not is_done(earlier_entry(spec, mark, {MASK: MASK_MARK}), other)

    def test_recipe_depends_on_the_version_and_not_on_the_folders(
        self, spec: BatchSpec, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = replace(spec, source=Path("x"), target=Path("y"), formats=("json",), has_table=True)
        recipe = spec.recipe
        assert elsewhere.recipe == recipe
        for module, name, value in (
            (recipe_module, "__version__", __version__ + "1"),
            (plan_module, "MANIFEST_VERSION", MANIFEST_VERSION + 1),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, value)
                assert elsewhere.recipe != recipe


class TestPlanTask:
    def test_overlays_of_another_opacity_are_drawn_again_if_requested(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", "overlay")
        mark = put_image(spec, "a.png", b"data")
        for suffix in (MASK, ".overlay.png"):
            (spec.target / f"a.png{suffix}").write_bytes(b"123")
        outputs = {MASK: MASK_MARK, ".overlay.png": replace(MASK_MARK, opacity=0.2)}
        entry = earlier_entry(spec, mark, outputs)
        assert is_done(entry, spec)
        stronger = replace(spec, options=Options(opacity=0.5))
        assert not is_done(entry, stronger)
        task = plan_task("a.png", entry, stronger, False)
        assert (task.formats, task.kept) == (("overlay",), {MASK: MASK_MARK})
        masks = replace(stronger, formats=("mask",))
        assert is_done(entry, masks)
        task = plan_task("a.png", entry, replace(masks, formats=("mask", "json")), False)
        assert (task.formats, dict(task.kept)) == (("json",), outputs)

    def test_unknown_image_gets_every_format(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", "json")
        everything = ImageTask("a.png", ("mask", "json"), {}, {}, frozenset({MASK, JSON, ERROR}))
        assert plan_task("a.png", None, spec, False) == everything

    def test_valid_outputs_are_kept(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", "json")
        mark = put_image(spec, "a.png", b"data")
        (spec.target / "a.png.mask.png").write_bytes(b"123")
        (spec.target / "a.png.seg.dcm").write_bytes(b"1234")
        (spec.target / "a.png.error.json").write_bytes(b"{}")
        entry = earlier_entry(
            spec,
            mark,
            {MASK: MASK_MARK, SEG: SEG_MARK, ERROR: ERROR_MARK},
            {"npz": "no-lung"},
        )
        assert plan_task("a.png", entry, spec, False) == ImageTask(
            "a.png",
            ("json",),
            {MASK: MASK_MARK, SEG: SEG_MARK},
            {"npz": "no-lung"},
            frozenset({JSON, ERROR}),
            "digest",
        )
        # With force, every requested format is produced again, and the others are kept.
        assert plan_task("a.png", entry, spec, True) == ImageTask(
            "a.png",
            ("mask", "json"),
            {SEG: SEG_MARK},
            {"npz": "no-lung"},
            frozenset({MASK, JSON, ERROR}),
            "digest",
        )

    def test_nothing_is_kept_for_a_changed_image_or_another_recipe(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask")
        mark = put_image(spec, "a.png", b"data")
        (spec.target / "a.png.mask.png").write_bytes(b"123")
        (spec.target / "a.png.npz").write_bytes(b"1234")
        outputs = {MASK: MASK_MARK, ".npz": SEG_MARK}
        everything = ImageTask("a.png", ("mask",), {}, {}, frozenset({MASK, ERROR, ".npz"}))
        changed = earlier_entry(spec, replace(mark, mtime_ns=1), outputs, {"rle": "x"})
        assert plan_task("a.png", changed, spec, False) == everything
        other = replace(spec, models=("other",))
        assert plan_task("a.png", earlier_entry(spec, mark, outputs, {"rle": "x"}), other, False) == everything

    def test_missing_image_counts_as_unchanged(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", "json")
        (spec.target / "a.png.mask.png").write_bytes(b"123")
        entry = earlier_entry(spec, FileMark(4, 5, 6, 7), {MASK: MASK_MARK})
        assert plan_task("a.png", entry, spec, False) == ImageTask(
            "a.png", ("json",), {MASK: MASK_MARK}, {}, frozenset({JSON, ERROR}), "digest"
        )

    def test_measurements_are_added_without_losing_outputs(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", has_table=True)
        mark = put_image(spec, "a.png", b"data")
        (spec.target / "a.png.mask.png").write_bytes(b"123")
        measuring = ImageTask("a.png", (), {MASK: MASK_MARK}, {}, frozenset({ERROR}), "digest", has_row=True)
        assert plan_task("a.png", earlier_entry(spec, mark, {MASK: MASK_MARK}), spec, False) == measuring

    def test_measurements_are_not_lost_when_a_format_is_added(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", "json")
        mark = put_image(spec, "a.png", b"data")
        measured = replace(earlier_entry(spec, mark, {}), outcome=FULL_ROW)
        assert plan_task("a.png", measured, spec, False).has_row
        assert not plan_task("a.png", replace(measured, recipe="other"), spec, False).has_row
        assert not plan_task("a.png", earlier_entry(spec, mark, {}), spec, False).has_row
