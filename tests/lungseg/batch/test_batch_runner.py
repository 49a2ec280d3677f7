"""What a run prints, skips and reports. Everything is in this process, without worker processes."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lungseg.batch import runner as runner_module
from lungseg.batch.entry import Entry
from lungseg.batch.file_mark import FileMark
from lungseg.batch.manifest import Manifest
from lungseg.batch.plan import BatchSpec, ImageTask
from lungseg.batch.process import process_task
from lungseg.batch.runner import BatchRunner, RunSettings
from lungseg.batch.scheduler import Scheduler
from lungseg.batch.source import FolderSource, OnSkip, SkipReason
from lungseg.batch.stop import StopSignal
from lungseg.pipeline.options import Options


class InProcessPool:
    """A worker pool without workers: this process does the tasks."""

    is_closed = False

    def __init__(self, spec: BatchSpec, count: int, locks: tuple[int, ...], timeout: float) -> None:
        assert [os.fstat(lock) for lock in locks]
        assert timeout == 60
        assert count >= 1
        self._spec = spec

    def run(self, tasks: Iterator[ImageTask]) -> Iterator[Entry]:
        for task in tasks:
            yield process_task(task, self._spec)

    def close(self) -> None:
        InProcessPool.is_closed = True


class Folders:
    """A folder of images and one of outputs, and runs between them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = folder / "in", folder / "out"
        self.report, self.table = folder / "run.json", folder / "m.csv"
        self.source.mkdir()
        self.target.mkdir()
        self.stop = StopSignal()

    def put(self, name: str, data: bytes) -> None:
        path = self.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (0, time.time() - 60))  # settled

    def spec(self, *formats: str, options: Options | None = None) -> BatchSpec:
        return BatchSpec(self.source, self.target, formats or ("mask",), options or Options(), ("a", "b"))

    def runner(self, manifest: Manifest, force: bool = False, formats: tuple[str, ...] = ("mask",)) -> BatchRunner:
        settings = RunSettings(3, force, 60, self.report, self.table)
        return BatchRunner(FolderSource(self.source), self.spec(*formats), manifest, self.stop, settings)

    def runner_without_reports(self, manifest: Manifest) -> BatchRunner:
        settings = RunSettings(1, False, 60, None, None)
        return BatchRunner(FolderSource(self.source), self.spec(), manifest, self.stop, settings)

    def read_report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads(self.report.read_text())
        return report

    def read_table(self) -> list[dict[str, str]]:
        with self.table.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    def table_verdicts(self) -> list[tuple[str, str]]:
        return [(row["path"], row["verdict"]) for row in self.read_table()]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    monkeypatch.setattr(runner_module, "WorkerPool", InProcessPool)
    monkeypatch.setattr(InProcessPool, "is_closed", False)
    return Folders(tmp_path)


@pytest.fixture
def manifest(folders: Folders) -> Iterator[Manifest]:
    manifest = Manifest(folders.target)
    yield manifest
    manifest.close()


class TestRunOnce:
    def test_every_outcome_is_printed_and_reported(
        self, folders: Folders, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, data in (("a.png", small), ("two\nlines.txt", b"no image"), ("ward/c.png", small)):
            folders.put(name, data)
        runner = folders.runner(manifest)
        runner.run_once(3)
        printed = capsys.readouterr().err
        assert "failed: two\\nlines.txt: unsupported-format: " in printed
        assert printed.count("failed: ") == 1
        assert "3/3" in printed
        assert "3 images: 2 segmented, 0 done before, 1 failed, in " in printed
        assert f"; outputs in {folders.target}\n" in printed
        assert printed.endswith("verdicts: 2 accept, 0 review, 0 reject\nfailures: 1 unsupported-format\n")
        assert runner.has_reports
        assert InProcessPool.is_closed
        assert folders.table_verdicts() == [
            ("a.png", "accept"),
            ("two\nlines.txt", "failed"),
            ("ward/c.png", "accept"),
        ]
        report = folders.read_report()
        assert [image["path"] for image in report["images"]] == ["two\nlines.txt"]
        assert (report["counts"]["images"], report["stopped"], report["workers"]) == (3, False, 3)
        assert report["closed_folders"] == []
        assert report["seconds"] > 0
        assert report["images_per_second"] == pytest.approx(3 / report["seconds"], rel=0.2)
        assert abs(time.time() - time.mktime(time.strptime(report["started"][:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
        assert report["started"].endswith("+00:00")

        second = folders.runner(manifest)
        second.run_once(3)
        assert "3 images: 0 segmented, 2 done before, 1 failed, in " in capsys.readouterr().err
        assert (second.tally.processed, second.tally.done_before) == (0, 2)
        assert folders.read_report()["images_per_second"] == 0
        assert folders.table_verdicts()[0] == ("a.png", "accept")

        forced = folders.runner(manifest, force=True)
        forced.run_once(3)
        assert (forced.tally.segmented, forced.tally.done_before, forced.tally.failed) == (2, 0, 1)

    def test_times_are_rounded(
        self,
        folders: Folders,
        manifest: Manifest,
        small: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(runner_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        for name in ("a.png", "b.png"):
            folders.put(name, small)
        runner = folders.runner(manifest, formats=("dicom-seg", "mask"))
        assert runner.has_reports is True
        clock[0] = 104.0625
        runner.run_once(2)
        printed = capsys.readouterr().err
        assert "in 4.1 s (0.5 images/s); outputs in" in printed
        assert "formats that could not be produced: 2 dicom-seg" in printed
        assert "image/s]" in printed or "s/image]" in printed
        report = folders.read_report()
        assert (report["seconds"], report["images_per_second"]) == (4.06, 0.49)

    def test_one_image_is_singular(
        self, folders: Folders, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders.put("a.png", small)
        folders.runner(manifest).run_once(1)
        assert "1 image: 1 segmented" in capsys.readouterr().err

    def test_full_disk_loses_the_reports_and_no_image(
        self, folders: Folders, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders.put("a.png", small)
        folders.table.mkdir()
        runner = folders.runner(manifest)
        runner.run_once(1)
        assert not runner.has_reports
        assert "failed: the reports cannot be written (Is a directory)" in capsys.readouterr().err
        assert (folders.target / "a.png.mask.png").exists()
        folders.table.rmdir()
        runner.run_once(1)
        assert runner.has_reports

    def test_reports_are_written_only_if_requested(self, folders: Folders, manifest: Manifest, small: bytes) -> None:
        folders.put("a.png", small)
        runner = folders.runner_without_reports(manifest)
        runner.run_once(1)
        assert runner.has_reports
        assert not folders.report.exists()
        assert not folders.table.exists()

    def test_table_is_complete_after_a_run_without_it(self, folders: Folders, manifest: Manifest, small: bytes) -> None:
        """A run without --csv measures nothing, so the next one with it does, and keeps the outputs."""
        folders.put("a.png", small)
        folders.put("b.png", b"no image")
        folders.runner_without_reports(manifest).run_once(2)
        mask = folders.target / "a.png.mask.png"
        written_at = mask.stat().st_mtime_ns
        runner = folders.runner(manifest)
        runner.run_once(2)
        assert (runner.tally.segmented, runner.tally.failed) == (1, 1)
        good, bad = folders.read_table()
        assert int(good["both_px"]) == int(good["right_px"]) + int(good["left_px"]) > 1000
        assert good["share"]
        assert bad["reasons"] == "unsupported-format"
        assert mask.stat().st_mtime_ns == written_at
        # Later runs do not measure again, with or without the table.
        for again in (folders.runner_without_reports(manifest), folders.runner(manifest)):
            again.run_once(2)
            assert (again.tally.segmented, again.tally.done_before) == (0, 1)

    def test_closed_folder_is_printed_once(
        self, folders: Folders, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folders.put("a.png", small)
        runner = folders.runner(manifest)
        for folder in ("ward\n1", "ward\n1", "b"):
            runner.report_skipped(SkipReason.CLOSED, folder)
        assert capsys.readouterr().err.splitlines() == [
            "failed: ward\\n1: this folder cannot be read; its images are not counted",
            "failed: b: this folder cannot be read; its images are not counted",
        ]
        runner.run_once(1)
        assert folders.read_report()["closed_folders"] == ["b", "ward\n1"]


class TestScheduler:
    def test_entries_of_another_recipe_are_left_out(self, folders: Folders, manifest: Manifest, small: bytes) -> None:
        folders.put("a.png", small)
        folders.put("b.png", b"no image")
        folders.runner(manifest).run_once(2)
        folders.put("c.png", small)
        spec = folders.spec()
        pool: Any = InProcessPool(spec, 1, manifest.descriptors, 60)
        names = ["a.png", "b.png", "c.png", "never.png"]
        scheduler = Scheduler(spec, manifest, pool, StopSignal(), force=False)
        assert [entry.path for entry in scheduler.entries(names)] == ["a.png", "b.png"]
        other = folders.spec(options=Options(threshold=0.3))
        assert not list(Scheduler(other, manifest, pool, StopSignal(), force=False).entries(names))

    def test_stopped_run_starts_no_other_image(self, folders: Folders, manifest: Manifest, small: bytes) -> None:
        images = ["a.png", "b.png", "c.png"]
        for name in images:
            folders.put(name, small)
        spec = folders.spec()
        pool: Any = InProcessPool(spec, 1, manifest.descriptors, 60)
        scheduler = Scheduler(spec, manifest, pool, folders.stop, force=False)
        reported: list[tuple[str, bool]] = []

        def stop_after_b(entry: Entry, is_from_before: bool) -> None:
            reported.append((entry.path, is_from_before))
            folders.stop.is_requested = entry.path == "b.png"

        scheduler.process(images, stop_after_b)
        assert reported == [("a.png", False), ("b.png", False)]
        folders.stop.is_requested = False
        scheduler.process(images, lambda entry, is_from_before: reported.append((entry.path, is_from_before)))
        assert reported[2:] == [("a.png", True), ("b.png", True), ("c.png", False)]


class TestRunWatch:
    def test_arriving_images_are_processed_and_printed(
        self,
        folders: Folders,
        manifest: Manifest,
        small: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        folders.put("a.png", small)
        tables: list[list[tuple[str, str]]] = []
        delays: list[float] = []
        arrivals = [
            lambda: None,
            lambda: folders.put("b.png", b"no image"),
            lambda: None,
            lambda: folders.put("c.png", small),
            lambda: None,
            lambda: setattr(folders.stop, "is_requested", True),
        ]

        def arrive(seconds: float) -> None:
            """Let something arrive instead of sleeping."""
            delays.append(seconds)
            tables.append(folders.table_verdicts())
            arrivals.pop(0)()

        monkeypatch.setattr(folders.stop, "sleep", arrive)
        folders.runner(manifest).run_watch(7)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == f"watching {folders.source}; press Ctrl-C to stop"
        assert lines[1] == "accept: a.png"
        assert lines[2].startswith("failed: b.png: unsupported-format: ")
        assert lines[3] == "accept: c.png"
        assert lines[4].startswith("3 images: 2 segmented, 0 done before, 1 failed, in ")
        assert delays == [7] * 6
        # The reports are written at once, then a minute later at the earliest, and at the end.
        assert tables == [[]] * 6
        assert [name for name, _ in folders.table_verdicts()] == ["a.png", "b.png", "c.png"]
        assert InProcessPool.is_closed

    def test_reports_are_updated_only_for_new_images(
        self,
        folders: Folders,
        manifest: Manifest,
        small: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for name, data in (("a.png", small), ("b.png", b"no image"), ("c.png", small)):
            folders.put(name, data)
        folders.runner(manifest).run_once(3)
        capsys.readouterr()
        monkeypatch.setattr(runner_module, "MIN_REPORT_SECONDS", 0)
        times: list[int] = []

        def note_time(seconds: float) -> None:
            times.append(folders.table.stat().st_mtime_ns)
            if len(times) == 5:
                folders.stop.is_requested = True
            if len(times) == 2:
                folders.put("d.png", small)

        monkeypatch.setattr(folders.stop, "sleep", note_time)
        runner = folders.runner(manifest)
        runner.run_watch(7)
        # Images that an earlier run processed are only counted, and a scan that finds nothing writes nothing.
        assert (runner.tally.done_before, runner.tally.segmented) == (2, 1)
        printed = capsys.readouterr().err
        assert "accept: a.png" not in printed
        assert "accept: d.png" in printed
        assert times[0] < times[1] == times[2] < times[3] == times[4]

    def test_empty_drop_folder_has_reports_too(
        self, folders: Folders, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def no_images(source: FolderSource, on_skip: OnSkip = lambda *_: None) -> Iterator[str]:
            on_skip(SkipReason.CLOSED, "ward")
            return iter(())

        def stop(seconds: float) -> None:
            assert folders.read_report()["counts"]["images"] == 0  # while it waits for the first image
            folders.stop.is_requested = True

        monkeypatch.setattr(FolderSource, "images", no_images)
        monkeypatch.setattr(folders.stop, "sleep", stop)
        folders.runner(manifest).run_watch(7)
        assert "failed: ward: this folder cannot be read" in capsys.readouterr().err
        assert folders.read_report()["closed_folders"] == ["ward"]
        assert folders.read_report()["stopped"] is True

    def test_doubtful_images_are_printed_with_their_reasons(
        self, folders: Folders, manifest: Manifest, capsys: pytest.CaptureFixture[str]
    ) -> None:
        runner = folders.runner(manifest)
        for name, verdict, reasons in (("a.png", "review", "one-lung cut-off"), ("b.png", "reject", "no-lung")):
            row = {"verdict": verdict, "reasons": reasons}
            entry = Entry(name, FileMark(1, 2, 3, 4), True, "digest", "recipe", {}, {}, row)
            runner._announce(entry, is_from_before=name == "b.png")
        assert capsys.readouterr().err == "review: a.png: one-lung cut-off\n"
        assert (runner.tally.segmented, runner.tally.done_before) == (1, 1)
