"""What a run says, what it leaves undone, and how it is ended: in this process, with workers that are none."""

from __future__ import annotations

import csv
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lungseg.batch import runner as runner_module
from lungseg.batch import stop as stop_module
from lungseg.batch.entry import Entry
from lungseg.batch.file_mark import FileMark
from lungseg.batch.manifest import Manifest
from lungseg.batch.plan import BatchSpec, ImageTask
from lungseg.batch.process import process_image
from lungseg.batch.runner import BatchRunner, RunSettings
from lungseg.batch.scheduler import Scheduler
from lungseg.batch.source import ImageSource, OnSkip, SkipReason
from lungseg.batch.stop import StopSignal
from lungseg.pipeline.options import Options


class Alone:
    """Workers that are none: this process does the images."""

    closed = False

    def __init__(self, spec: BatchSpec, count: int, lock: int, timeout: float) -> None:
        os.fstat(lock)
        assert timeout == 60
        assert count >= 1
        self._spec = spec

    def run(self, tasks: Iterator[ImageTask]) -> Iterator[Entry]:
        for task in tasks:
            yield process_image(task, self._spec)

    def close(self) -> None:
        Alone.closed = True


class Place:
    """A folder of images, one of outputs, and sessions between them."""

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

    def session(self, manifest: Manifest, force: bool = False, formats: tuple[str, ...] = ("mask",)) -> BatchRunner:
        spec = BatchSpec(self.source, self.target, formats, Options(), ("a", "b"))
        return BatchRunner(
            ImageSource(self.source), spec, manifest, self.stop, RunSettings(3, force, 60, self.report, self.table)
        )

    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.report.read_text())
        return said

    def rows(self) -> list[tuple[str, str]]:
        with self.table.open(encoding="utf-8", newline="") as file:
            return [(row["path"], row["verdict"]) for row in csv.DictReader(file)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(runner_module, "WorkerPool", Alone)
    monkeypatch.setattr(Alone, "closed", False)
    return Place(tmp_path)


@pytest.fixture
def manifest(place: Place) -> Iterator[Manifest]:
    manifest = Manifest(place.target)
    yield manifest
    manifest.close()


class TestSession:
    def test_a_run_says_what_became_of_every_film(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name, data in (("a.png", small), ("two\nlines.txt", b"no image"), ("ward/c.png", small)):
            place.put(name, data)
        session = place.session(manifest)
        session.run_once(3)
        said = capsys.readouterr().err
        assert "failed: two\\nlines.txt: unsupported-format: The content is none of PNG" in said
        assert said.count("failed: ") == 1
        assert "3/3" in said
        assert "3 images: 2 segmented, 0 done before, 1 failed, in " in said
        assert f"; outputs in {place.target}\n" in said
        assert said.endswith("verdicts: 2 accept, 0 review, 0 reject\nfailures: 1 unsupported-format\n")
        assert session.has_reports
        assert Alone.closed
        assert place.rows() == [("a.png", "accept"), ("two\nlines.txt", "failed"), ("ward/c.png", "accept")]
        head = place.said()
        assert [film["path"] for film in head["images"]] == ["two\nlines.txt"]
        assert (head["counts"]["images"], head["stopped"], head["workers"]) == (3, False, 3)
        assert head["closed_folders"] == []
        assert head["seconds"] > 0
        assert head["images_per_second"] == pytest.approx(3 / head["seconds"], rel=0.2)
        assert abs(time.time() - time.mktime(time.strptime(head["started"][:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
        assert head["started"].endswith("+00:00")

        again = place.session(manifest)
        again.run_once(3)
        assert "3 images: 0 segmented, 2 done before, 1 failed, in " in capsys.readouterr().err
        assert (again.tally.processed, again.tally.done_before) == (0, 2)
        assert place.said()["images_per_second"] == 0
        assert place.rows()[0] == ("a.png", "accept")

        anew = place.session(manifest, force=True)
        anew.run_once(3)
        assert (anew.tally.segmented, anew.tally.done_before, anew.tally.failed) == (2, 0, 1)

    def test_times_are_told_to_a_tenth(
        self,
        place: Place,
        manifest: Manifest,
        small: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(runner_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        for name in ("a.png", "b.png"):
            place.put(name, small)
        session = place.session(manifest, formats=("dicom-seg", "mask"))
        assert session.has_reports is True
        clock[0] = 104.0625
        session.run_once(2)
        said = capsys.readouterr().err
        assert "in 4.1 s (0.5 images/s); outputs in" in said
        assert "formats that could not be produced: 2 dicom-seg" in said
        assert "image/s]" in said or "s/image]" in said
        assert (place.said()["seconds"], place.said()["images_per_second"]) == (4.06, 0.49)

    def test_one_film_is_one_film(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put("a.png", small)
        place.session(manifest).run_once(1)
        assert "1 image: 1 segmented" in capsys.readouterr().err

    def test_reports_cover_films_of_this_recipe_alone(self, place: Place, manifest: Manifest, small: bytes) -> None:
        place.put("a.png", small)
        place.put("b.png", b"no image")
        place.session(manifest).run_once(2)
        place.put("c.png", small)
        spec = BatchSpec(place.source, place.target, ("mask",), Options(), ("a", "b"))
        workers: Any = Alone(spec, 1, manifest.fileno(), 60)
        names = ["a.png", "b.png", "c.png", "never.png"]
        here = Scheduler(spec, manifest, workers, StopSignal(), force=False)
        assert [entry.path for entry in here.entries(names)] == ["a.png", "b.png"]
        other = BatchSpec(place.source, place.target, ("mask",), Options(threshold=0.3), ("a", "b"))
        assert not list(Scheduler(other, manifest, workers, StopSignal(), force=False).entries(names))

    def test_a_run_that_is_stopped_begins_no_other_film(self, place: Place, manifest: Manifest, small: bytes) -> None:
        for name in ("a.png", "b.png", "c.png"):
            place.put(name, small)
        spec = BatchSpec(place.source, place.target, ("mask",), Options(), ("a", "b"))
        workers: Any = Alone(spec, 1, manifest.fileno(), 60)
        run = Scheduler(spec, manifest, workers, place.stop, force=False)
        seen: list[tuple[str, bool]] = []

        def note(entry: Entry, before: bool) -> None:
            seen.append((entry.path, before))
            place.stop.is_requested = entry.path == "b.png"

        run.process(["a.png", "b.png", "c.png"], note)
        assert seen == [("a.png", False), ("b.png", False)]
        place.stop.is_requested = False
        run.process(["a.png", "b.png", "c.png"], lambda entry, before: seen.append((entry.path, before)))
        assert seen[2:] == [("a.png", True), ("b.png", True), ("c.png", False)]

    def test_a_full_disk_costs_the_reports_and_no_film(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put("a.png", small)
        place.table.mkdir()
        session = place.session(manifest)
        session.run_once(1)
        assert not session.has_reports
        assert "failed: the reports cannot be written (Is a directory)" in capsys.readouterr().err
        assert (place.target / "a.png.mask.png").exists()
        place.table.rmdir()
        session.run_once(1)
        assert session.has_reports

    def test_no_report_is_written_unasked(self, place: Place, manifest: Manifest, small: bytes) -> None:
        place.put("a.png", small)
        spec = BatchSpec(place.source, place.target, ("mask",), Options(), ("a", "b"))
        session = BatchRunner(
            ImageSource(place.source), spec, manifest, place.stop, RunSettings(1, False, 60, None, None)
        )
        session.run_once(1)
        assert session.has_reports
        assert not place.report.exists()
        assert not place.table.exists()

    def test_a_closed_folder_is_told_once(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put("a.png", small)
        session = place.session(manifest)
        for folder in ("ward\n1", "ward\n1", "b"):
            session.report_skipped(SkipReason.CLOSED, folder)
        assert capsys.readouterr().err.splitlines() == [
            "failed: ward\\n1: this folder cannot be read; its images are not counted",
            "failed: b: this folder cannot be read; its images are not counted",
        ]
        session.run_once(1)
        assert place.said()["closed_folders"] == ["b", "ward\n1"]

    def test_watching_tells_of_each_film_that_arrives(
        self,
        place: Place,
        manifest: Manifest,
        small: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        place.put("a.png", small)
        written: list[list[tuple[str, str]]] = []
        rests: list[float] = []
        arrivals = [
            lambda: None,
            lambda: place.put("b.png", b"no image"),
            lambda: None,
            lambda: place.put("c.png", small),
            lambda: None,
            lambda: setattr(place.stop, "is_requested", True),
        ]

        def sleep(seconds: float) -> None:
            """In place of a rest something arrives."""
            rests.append(seconds)
            written.append(place.rows())
            arrivals.pop(0)()

        monkeypatch.setattr(place.stop, "sleep", sleep)
        session = place.session(manifest)
        session.run_watch(7)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == f"watching {place.source}; press Ctrl-C to stop"
        assert lines[1] == "accept: a.png"
        assert lines[2].startswith("failed: b.png: unsupported-format: ")
        assert lines[3] == "accept: c.png"
        assert lines[4].startswith("3 images: 2 segmented, 0 done before, 1 failed, in ")
        assert rests == [7] * 6
        # Written at once, then a minute later at the earliest, and at the end.
        assert written == [[]] * 6
        assert [name for name, _ in place.rows()] == ["a.png", "b.png", "c.png"]
        assert Alone.closed

        monkeypatch.setattr(runner_module, "MIN_REPORT_SECONDS", 0)
        place.stop.is_requested = False
        written.clear()
        times: list[int] = []

        def again(seconds: float) -> None:
            times.append(place.table.stat().st_mtime_ns)
            if len(times) == 5:
                place.stop.is_requested = True
            if len(times) == 2:
                place.put("d.png", small)

        monkeypatch.setattr(place.stop, "sleep", again)
        later = place.session(manifest)
        later.run_watch(7)
        # Images that an earlier run has done are counted in silence, and a look that finds nothing writes nothing.
        assert (later.tally.done_before, later.tally.segmented) == (2, 1)
        assert "accept: a.png" not in (said := capsys.readouterr().err)
        assert "accept: d.png" in said
        assert times[0] < times[1] == times[2] < times[3] == times[4]

    def test_a_drop_folder_without_films_has_its_reports_too(
        self, place: Place, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def images(source: ImageSource, left_out: OnSkip = lambda *_: None) -> Iterator[str]:
            left_out(SkipReason.CLOSED, "ward")
            return iter(())

        def sleep(seconds: float) -> None:
            assert place.said()["counts"]["images"] == 0  # while it waits for the first one
            place.stop.is_requested = True

        monkeypatch.setattr(ImageSource, "images", images)
        monkeypatch.setattr(place.stop, "sleep", sleep)
        place.session(manifest).run_watch(7)
        assert "failed: ward: this folder cannot be read" in capsys.readouterr().err
        assert place.said()["closed_folders"] == ["ward"]
        assert place.said()["stopped"] is True

    def test_doubtful_films_are_told_with_their_reasons(
        self, place: Place, manifest: Manifest, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session = place.session(manifest)
        for name, verdict, reasons in (("a.png", "review", "one-lung cut-off"), ("b.png", "reject", "no-lung")):
            row = {"verdict": verdict, "reasons": reasons}
            session._announce(
                Entry(name, FileMark(1, 2, 3, 4), True, "digest", "recipe", {}, {}, row), is_from_before=name == "b.png"
            )
        assert capsys.readouterr().err == "review: a.png: one-lung cut-off\n"
        assert (session.tally.segmented, session.tally.done_before) == (1, 1)


class TestStop:
    @pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_asks_and_the_second_ends(self, kind: signal.Signals) -> None:
        before = signal.getsignal(kind)
        with StopSignal() as stop:
            assert not stop.is_requested
            os.kill(os.getpid(), kind)
            assert stop.is_requested
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), kind)
        assert signal.getsignal(kind) is before

    def test_a_sleeper_is_woken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stop = StopSignal()
        threading.Timer(0.3, lambda: setattr(stop, "is_requested", True)).start()
        started = time.monotonic()
        stop.sleep(60)
        assert 0.2 < time.monotonic() - started < 5
        stop.sleep(60)
        assert time.monotonic() - started < 5
        stop.is_requested = False
        naps: list[float] = []
        clock = [100.0]

        def nap(seconds: float) -> None:
            naps.append(seconds)
            clock[0] += seconds

        monkeypatch.setattr(stop_module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=nap))
        stop.sleep(0.5)
        assert naps == pytest.approx([0.2, 0.2, 0.1])
        stop.sleep(0)
        assert len(naps) == 3
