"""`process_task` in this process: what one image leaves behind, and what happens when something fails."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from batch_folder import ERROR, JSON, MASK, MakeSpec, find_entry, list_outputs, mark_output, put_image
from films import RAMP8, png

from lungseg import errors
from lungseg.batch import process as process_module
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import MISSING_FILE, FileMark, FileSnapshot, OutputMark
from lungseg.batch.plan import BatchSpec, ImageTask, is_done, plan_task
from lungseg.batch.process import process_task, record_failure
from lungseg.encode.png import mask_png
from lungseg.files import PARTIAL_PREFIX, read_image_file
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment

SNAPSHOT = FileSnapshot(FileMark(5, 6, 7, 8), True)


def process_new(spec: BatchSpec, path: str = "a.png") -> Entry:
    """Process an image that the manifest does not know."""
    return process_task(plan_task(path, None, spec, False), spec)


class TestSuccess:
    def test_good_image_leaves_outputs_and_entry(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("mask", "json", has_table=True)
        mark = put_image(spec, "ward/a.png", small)
        found = process_new(spec, "ward/a.png")
        assert list_outputs(spec) == {"ward/a.png.mask.png", "ward/a.png.json"}
        outputs = {suffix: spec.target / f"ward/a.png{suffix}" for suffix in (MASK, JSON)}
        marks = {suffix: OutputMark.of(path, path.read_bytes()) for suffix, path in outputs.items()}
        digest = hashlib.sha256(small).hexdigest()
        assert found == Entry("ward/a.png", mark, False, digest, spec.recipe, marks, {}, found.outcome)
        document = json.loads((spec.target / "ward/a.png.json").read_text())
        assert isinstance(found.outcome, dict)
        assert found.outcome["verdict"] == document["verdict"]["decision"] == "accept"
        assert found.outcome["both_px"] == document["lungs"]["both"]["pixels"] > 1000
        assert find_entry(spec, "ward/a.png") == found

    def test_options_are_applied(self, make_spec: MakeSpec, small: bytes) -> None:
        put_image(spec := make_spec(has_table=True), "a.png", small)
        pixels = []
        for threshold in (0.1, 0.9):
            spec = replace(spec, options=Options(threshold=threshold))
            outcome = process_task(plan_task("a.png", None, spec, True), spec).outcome
            assert isinstance(outcome, dict)
            pixels.append(outcome["both_px"])
        assert pixels[0] > pixels[1] > 0

    def test_image_is_measured_only_for_the_table(
        self, make_spec: MakeSpec, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(process_module, "document", lambda _: pytest.fail("it was measured"))
        put_image(spec := make_spec(), "a.png", small)
        assert process_new(spec).outcome == {"verdict": "accept", "reasons": ""}

    def test_impossible_format_is_omitted(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("mask", "dicom-seg")
        put_image(spec, "a.png", small)
        found = process_new(spec)
        assert found.omitted == {"dicom-seg": "needs-dicom"}
        assert not isinstance(found.outcome, Failure)
        assert set(found.outputs) == {MASK}
        assert is_done(found, spec)

    def test_earlier_outputs_and_omitted_formats_are_remembered(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("mask", "json")
        put_image(spec, "a.png", small)
        (spec.target / "a.png.mask.png").write_bytes(b"kept")
        # Adding a format loses neither a kept output nor a format known to be impossible.
        digest, omitted = hashlib.sha256(small).hexdigest(), {"dicom-seg": "needs-dicom"}
        task = ImageTask("a.png", ("json",), {MASK: mark_output(b"kept")}, omitted, frozenset({JSON, ERROR}), digest)
        found = process_task(task, spec)
        assert found.omitted == {"dicom-seg": "needs-dicom"}
        assert set(found.outputs) == {MASK, JSON}
        assert found.outputs[MASK] == mark_output(b"kept")
        assert (spec.target / "a.png.mask.png").read_bytes() == b"kept"
        # If the added format is impossible, the image has not failed.
        found = process_task(ImageTask("a.png", ("dicom-seg",), {MASK: mark_output(b"kept")}, sha256=digest), spec)
        assert not isinstance(found.outcome, Failure)
        assert found.outputs == {MASK: mark_output(b"kept")}


class TestChangeWhileReading:
    def test_redirected_symlink_is_not_settled(
        self, make_spec: MakeSpec, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make_spec("mask")
        for name in ("one", "other"):
            put_image(spec, f"../{name}", small)
        (spec.source / "a.png").symlink_to("../one")
        monkeypatch.setattr(FileMark, "is_settled", lambda _: True)
        assert process_new(spec).settled

        def read_redirected(path: Path) -> bytes:
            path.unlink()
            path.symlink_to("../other")
            return read_image_file(path)

        monkeypatch.setattr(process_module, "read_image_file", read_redirected)
        assert not process_new(spec).settled

    def test_image_replaced_after_planning_keeps_no_output(self, make_spec: MakeSpec, small: bytes) -> None:
        """A worker may take seconds to start. The mask of one image would lie beside the measurements of another."""
        first_spec = make_spec("mask", "npz")
        put_image(first_spec, "a.png", small)
        first = process_new(first_spec)
        spec = replace(first_spec, formats=("mask", "json"))
        task = plan_task("a.png", first, spec, False)
        assert (task.formats, set(task.kept)) == (("json",), {MASK, ".npz"})
        put_image(spec, "a.png", png(RAMP8))
        found = process_task(task, spec)
        assert set(found.outputs) == {MASK, JSON}
        assert list_outputs(spec) == {f"a.png{suffix}" for suffix in (MASK, JSON)}
        assert (spec.target / "a.png.mask.png").read_bytes() == mask_png(segment(png(RAMP8)).mask)

    def test_every_output_on_disk_is_in_the_manifest(
        self, make_spec: MakeSpec, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        spec = make_spec("mask", "json")
        put_image(spec, "a.png", small)
        for suffix in (MASK, JSON):
            (spec.target / f"a.png{suffix}").write_bytes(b"of another image")
        before: list[set[str]] = []

        def kill(*_: object) -> None:
            before.append(list_outputs(spec))
            raise KeyboardInterrupt

        monkeypatch.setattr(process_module, "append_entry", kill)
        with pytest.raises(KeyboardInterrupt):
            process_new(spec)
        (partials,) = before
        # Both outputs are complete by then, under temporary names, and the old ones are gone.
        assert len(partials) == 2
        assert all(name.startswith(PARTIAL_PREFIX) for name in partials)
        assert list_outputs(spec) == set()


class TestFailure:
    def test_refused_image_leaves_a_problem_document_in_place_of_old_outputs(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask", "json")
        mark = put_image(spec, "a.png", b"no image")
        for suffix in (MASK, JSON):
            (spec.target / f"a.png{suffix}").write_bytes(b"of another image")
        found = process_new(spec)
        assert list_outputs(spec) == {"a.png.error.json"}
        content = (spec.target / "a.png.error.json").read_bytes()
        problem = json.loads(content)
        assert problem["code"] == "unsupported-format"
        assert content.count(b"\n") > 5  # readable for people
        assert found.outcome == Failure(problem["code"], problem["detail"])
        assert found.mark == mark
        assert {suffix: output.size for suffix, output in found.outputs.items()} == {ERROR: len(content)}
        assert find_entry(spec, "a.png") == found

    def test_unexpected_error_is_reported_without_its_text(
        self, make_spec: MakeSpec, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail_segment(data: bytes, options: Options) -> None:
            raise LookupError("the patient's name")

        monkeypatch.setattr(process_module, "segment", fail_segment)
        spec = make_spec()
        mark = put_image(spec, "a.png", small)
        found = process_new(spec)
        assert found.outcome == Failure("internal-error", "An unexpected LookupError stopped it.")
        assert found.mark == mark
        assert b"patient" not in (spec.target / "a.png.error.json").read_bytes()

    def test_image_without_any_possible_format_fails(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("dicom-seg")
        mark = put_image(spec, "a.png", small)
        found = process_new(spec)
        assert isinstance(found.outcome, Failure)
        assert found.outcome.code == "needs-dicom"
        assert found.omitted == {"dicom-seg": "needs-dicom"}
        assert (found.mark, set(found.outputs)) == (mark, {ERROR})
        assert find_entry(spec, "a.png") == found
        assert is_done(found, spec)

    def test_folder_in_place_of_an_output_fails_the_image(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("mask", "json")
        mark = put_image(spec, "a.png", small)
        (spec.target / "a.png.mask.png").mkdir()
        (spec.target / "a.png.json").write_bytes(b"of an earlier image")
        found = process_new(spec)
        assert found.outcome == Failure("unwritable", "An output cannot be written (Is a directory).")
        assert found.mark == mark
        assert list_outputs(spec) == {"a.png.error.json"}
        assert not is_done(found, spec)

    def test_unwritable_problem_document_does_not_stop_the_run(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("mask")
        mark = put_image(spec, "ward/a.png", small)
        (spec.target / "ward").write_bytes(b"a file where a folder must go")
        found = process_new(spec, "ward/a.png")
        assert isinstance(found.outcome, Failure)
        assert (found.outcome.code, found.mark, found.outputs) == ("unwritable", mark, {})
        assert (found.recipe, found.omitted) == (spec.recipe, {})
        assert find_entry(spec, "ward/a.png") == found
        # Even without a folder for the manifest, the failure is returned.
        lost = replace(spec, target=spec.target / "none")
        (spec.target / "none").write_bytes(b"")
        outcome = process_new(lost, "ward/a.png").outcome
        assert isinstance(outcome, Failure)
        assert outcome.code == "unwritable"

    def test_symlink_out_of_the_output_folder_is_refused(self, make_spec: MakeSpec, small: bytes) -> None:
        spec = make_spec("mask")
        (spec.source / "ward").mkdir()
        put_image(spec, "ward/deep/a.png", small)
        elsewhere = spec.target.parent / "elsewhere"
        elsewhere.mkdir()
        (spec.target / "ward").symlink_to(elsewhere)
        detail = "An output cannot be written (a link leads out of the output folder)."
        assert process_new(spec, "ward/deep/a.png").outcome == Failure("unwritable", detail)
        assert not list(elsewhere.iterdir())

    def test_stale_outputs_are_removed_even_without_a_problem_document(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask")
        put_image(spec, "a.png", b"no image")
        (spec.target / "a.png.mask.png").write_bytes(b"of another image")
        (spec.target / "a.png.error.json").mkdir()
        found = process_new(spec)
        assert isinstance(found.outcome, Failure)
        assert list_outputs(spec) == set()
        assert find_entry(spec, "a.png") == found

    @pytest.mark.parametrize(
        ("error", "left"),
        [(errors.Unreadable("x"), {MASK, ERROR}), (errors.DamagedImage("x"), {ERROR})],
    )
    def test_unreadable_image_keeps_its_outputs_and_a_damaged_one_does_not(
        self, make_spec: MakeSpec, error: errors.ProblemError, left: set[str]
    ) -> None:
        spec = make_spec("mask")
        (spec.target / "a.png.mask.png").write_bytes(b"kept")
        task = ImageTask("a.png", (), {MASK: mark_output(b"kept")}, stale=frozenset({ERROR}))
        found = record_failure(task, spec, error, SNAPSHOT)
        assert list_outputs(spec) == {f"a.png{suffix}" for suffix in left}
        assert set(found.outputs) == left
        assert (found.mark, found.outcome) == (SNAPSHOT.mark, Failure(error.code, "x"))

    def test_failure_remembers_omitted_formats(self, make_spec: MakeSpec) -> None:
        spec = make_spec("mask")
        omitted, gone = {"dicom-seg": "needs-dicom"}, FileSnapshot(MISSING_FILE, False)
        task, error = ImageTask("a.png", ()), errors.NeedsDicom("x")
        assert record_failure(task, spec, error, gone, omitted).omitted == omitted
        (spec.target / "a.png.error.json").unlink()
        (spec.target / "a.png.error.json").mkdir()
        assert record_failure(task, spec, error, gone, omitted).omitted == omitted
