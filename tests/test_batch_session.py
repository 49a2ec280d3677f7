"""A run's counts, tables, reports and words, and how it is ended: in this process, with workers that are none."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.batch import report as report_module
from app.batch import session as session_module
from app.batch import stop as stop_module
from app.batch.manifest import Entry, Manifest
from app.batch.report import summary, write_report, write_table
from app.batch.run import Run
from app.batch.session import Session, Settings
from app.batch.stop import Stop
from app.batch.table import COLUMNS, row
from app.batch.tally import Tally
from app.batch.work import Job, Order, work
from app.folder import Source
from app.options import Options


def good(path: str, verdict: str = "accept", reasons: str = "", omitted: dict[str, str] | None = None) -> Entry:
    """A film that was segmented."""
    return Entry(path, 1, 2, "recipe", {".mask.png": 3}, omitted or {}, {"verdict": verdict, "reasons": reasons})


def bad(path: str, code: str = "damaged-film") -> Entry:
    """A film that was refused."""
    return Entry(path, 1, 2, "recipe", {}, {}, problem={"code": code, "detail": "It is broken."})


ENTRIES = [
    good("a.png"),
    good("b.png", "review", "one-lung cut-off", {"dicom-seg": "needs-dicom", "npz": "x"}),
    bad("c.png"),
    good("d.png", "reject", "not-frontal"),
    bad("e.png", "too-small"),
    bad("f.png"),
]


class TestTally:
    @pytest.fixture
    def tally(self) -> Tally:
        """Of all entries; the first and the last were there before."""
        tally = Tally(("mask", "dicom-seg"))
        for number, entry in enumerate(ENTRIES):
            tally.count(entry, before=number in (0, 5))
        return tally

    def test_every_film_counts_once(self, tally: Tally) -> None:
        assert (tally.films, tally.segmented, tally.before, tally.failed, tally.worked) == (6, 2, 1, 3, 4)
        assert tally.doubtful == 2
        assert tally.verdicts == {"accept": 1, "review": 1, "reject": 1}
        assert tally.reasons == {"one-lung": 1, "cut-off": 1, "not-frontal": 1}
        assert tally.failures == {"damaged-film": 2, "too-small": 1}
        assert tally.omitted == {"dicom-seg": 1}  # what was not asked for was not left out

    def test_lines_say_what_there_is(self, tally: Tally) -> None:
        assert tally.lines() == [
            "verdicts: 1 accept, 1 review, 1 reject",
            "reasons: 1 one-lung, 1 cut-off, 1 not-frontal",
            "failures: 2 damaged-film, 1 too-small",
            "formats that could not be made: 1 dicom-seg",
        ]
        nothing = Tally(("mask",))
        assert nothing.lines() == ["verdicts: 0 accept, 0 review, 0 reject"]
        assert (nothing.films, nothing.worked, nothing.doubtful) == (0, 0, 0)


class TestReports:
    def test_a_row_has_the_measures_of_its_document(self) -> None:
        box, centre = [1, 2, 3, 4], [5.123, 6.08]
        document = {
            "verdict": {
                "decision": "review",
                "reasons": [{"code": "one-lung"}, {"code": "cut-off"}],
                "frontal": 0.9,
                "confidence": 0.8,
            },
            "film": {"width": 640, "height": 480},
            "lungs": {
                "both": {"pixels": 30, "mm2": 12.345, "box": box, "centroid": centre},
                "right": {"pixels": 30, "mm2": 12.345, "box": box, "centroid": centre},
                "left": {"pixels": 0, "mm2": None, "box": None, "centroid": None},
                "right_to_left": None,
                "share": 0.1,
            },
            "milliseconds": {"decode": 1.26, "network": 2.31},
        }
        part = {
            "px": 30,
            "mm2": 12.3,
            "box_x": 1,
            "box_y": 2,
            "box_width": 3,
            "box_height": 4,
            "centroid_x": 5.1,
            "centroid_y": 6.1,
        }
        expected = {"width": 640, "height": 480, "verdict": "review", "reasons": "one-lung cut-off"}
        expected |= {"frontal": 0.9, "confidence": 0.8, "right_to_left": None, "share": 0.1, "milliseconds": 3.6}
        expected |= {f"{side}_{name}": value for side in ("both", "right") for name, value in part.items()}
        expected |= {f"left_{name}": 0 if name == "px" else None for name in part}
        assert row(document) == expected
        assert set(COLUMNS) == {"path", *expected}

    def test_the_table_has_a_line_for_each_film(self, tmp_path: Path) -> None:
        path = tmp_path / "m.csv"
        odd = os.fsdecode(b"\xff,\n.png")
        write_table(path, iter([good("ä.png", "review", "one-lung"), bad("b.png"), bad(odd)]))
        lines = path.read_bytes().split(b"\r\n")
        assert lines[0].decode() == ",".join(COLUMNS)
        blanks = b"," * (len(COLUMNS) - 5)
        assert lines[1:] == [
            "ä.png,,,review,one-lung".encode() + blanks,
            b"b.png,,,failed,damaged-film" + blanks,
            b'"\xff,\n.png",,,failed,damaged-film' + blanks,
            b"",
        ]
        assert [each.name for each in tmp_path.iterdir()] == ["m.csv"]

    @pytest.mark.parametrize("entries", [[], ENTRIES[:1], ENTRIES[:3], ENTRIES])
    def test_the_report_lists_films_to_look_at(self, tmp_path: Path, entries: list[Entry]) -> None:
        path = tmp_path / "run.json"
        write_report(path, {"counts": {"films": 6}, "in": "ä"}, iter(entries))
        said = json.loads(path.read_text())
        members = {
            "b.png": {"path": "b.png", "outcome": "review", "reasons": ["one-lung", "cut-off"]},
            "c.png": {"path": "c.png", "outcome": "failed", "code": "damaged-film", "detail": "It is broken."},
            "d.png": {"path": "d.png", "outcome": "reject", "reasons": ["not-frontal"]},
            "e.png": {"path": "e.png", "outcome": "failed", "code": "too-small", "detail": "It is broken."},
            "f.png": {"path": "f.png", "outcome": "failed", "code": "damaged-film", "detail": "It is broken."},
        }
        expected = [members[entry.path] for entry in entries if entry.path in members]
        assert said == {"counts": {"films": 6}, "in": "ä", "films": expected}
        # A line a film: such a report is searched with grep.
        lines = [line for line in path.read_text().splitlines() if line.startswith('    {"path"')]
        assert len(lines) == len(expected)
        assert [each.name for each in tmp_path.iterdir()] == ["run.json"]

    def test_a_report_that_cannot_be_finished_leaves_the_last_one(self, tmp_path: Path) -> None:
        def broken() -> Iterator[Entry]:
            yield ENTRIES[1]
            raise OSError(errno.EIO, "Input/output error")

        for path, write in (
            (tmp_path / "r.json", lambda path: write_report(path, {"a": 1}, broken())),
            (tmp_path / "m.csv", lambda path: write_table(path, broken())),
        ):
            path.write_text("the last one")
            with pytest.raises(OSError, match="Input/output"):
                write(path)
            assert path.read_text() == "the last one"
        assert {each.name for each in tmp_path.iterdir()} == {"r.json", "m.csv"}

    def test_a_link_to_a_report_stays_one(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        for name in ("r.json", "m.csv"):
            (tmp_path / name).symlink_to(tmp_path / "elsewhere" / name)
        write_report(tmp_path / "r.json", {"a": 1}, iter([]))
        write_table(tmp_path / "m.csv", iter([]))
        assert {each.name for each in (tmp_path / "elsewhere").iterdir()} == {"r.json", "m.csv"}
        assert (tmp_path / "r.json").is_symlink()
        assert (tmp_path / "m.csv").is_symlink()

    def test_the_summary_says_what_was_done_with_what(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tally = Tally(("mask", "dicom-seg"))
        for entry in ENTRIES:
            tally.count(entry, before=entry.path == "a.png")
        order = Order(Path("films"), Path("masks"), ("mask",), Options(threshold=0.4, clean=False), ("1", "2"))
        model: Any = SimpleNamespace(card=SimpleNamespace(name="lung", precision="int8"), sha256="1")
        view: Any = SimpleNamespace(sha256="2")
        monkeypatch.setattr(report_module, "__version__", "1.2.3")
        said = summary(tally, order, model, view)
        versions = said.pop("versions")
        assert said == {
            "counts": {
                "films": 6,
                "segmented": 2,
                "done_before": 1,
                "failed": 3,
                "accept": 1,
                "review": 1,
                "reject": 1,
            },
            "reasons": {"one-lung": 1, "cut-off": 1, "not-frontal": 1},
            "failures": {"damaged-film": 2, "too-small": 1},
            "omitted_formats": {"dicom-seg": 1},
            "in": "films",
            "out": "masks",
            "formats": ["mask"],
            "options": {"threshold": 0.4, "clean": False, "upright": True},
            "model": {"name": "lung", "precision": "int8", "sha256": "1"},
            "view_model": {"sha256": "2"},
        }
        assert set(versions) == {"program", "python", "onnxruntime"}
        assert versions["program"] == "1.2.3"
        assert all(isinstance(each, str) and each[0].isdigit() for each in versions.values())


class Alone:
    """Workers that are none: this process does the films."""

    closed = False

    def __init__(self, order: Order, count: int, lock: int) -> None:
        os.fstat(lock)
        assert count >= 1
        self._order = order

    def run(self, jobs: Iterator[Job]) -> Iterator[Entry]:
        for job in jobs:
            yield work(job, self._order)

    def close(self) -> None:
        Alone.closed = True


class Place:
    """A folder of films, one of outputs, and sessions between them."""

    def __init__(self, folder: Path) -> None:
        self.source, self.target = folder / "in", folder / "out"
        self.report, self.table = folder / "run.json", folder / "m.csv"
        self.source.mkdir()
        self.target.mkdir()
        self.stop = Stop()

    def put(self, name: str, data: bytes) -> None:
        path = self.source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (0, time.time() - 60))  # settled

    def session(self, manifest: Manifest, again: bool = False, formats: tuple[str, ...] = ("mask",)) -> Session:
        order = Order(self.source, self.target, formats, Options(), ("a", "b"))
        return Session(Source(self.source), order, manifest, self.stop, Settings(3, again, self.report, self.table))

    def said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.report.read_text())
        return said

    def rows(self) -> list[tuple[str, str]]:
        with self.table.open(encoding="utf-8", newline="") as file:
            return [(row["path"], row["verdict"]) for row in csv.DictReader(file)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(session_module, "Workers", Alone)
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
        for name, data in (("a.png", small), ("two\nlines.txt", b"no film"), ("ward/c.png", small)):
            place.put(name, data)
        session = place.session(manifest)
        session.once(3)
        said = capsys.readouterr().err
        assert "failed: two\\nlines.txt: unsupported-format: The content is none of PNG" in said
        assert said.count("failed: ") == 1
        assert "3/3" in said
        assert "3 films: 2 segmented, 0 done before, 1 failed, in " in said
        assert f"; outputs in {place.target}\n" in said
        assert said.endswith("verdicts: 2 accept, 0 review, 0 reject\nfailures: 1 unsupported-format\n")
        assert session.complete
        assert Alone.closed
        assert place.rows() == [("a.png", "accept"), ("two\nlines.txt", "failed"), ("ward/c.png", "accept")]
        head = place.said()
        assert [film["path"] for film in head["films"]] == ["two\nlines.txt"]
        assert (head["counts"]["films"], head["stopped"], head["workers"]) == (3, False, 3)
        assert head["closed_folders"] == []
        assert head["seconds"] > 0
        assert head["films_per_second"] == pytest.approx(3 / head["seconds"], rel=0.2)
        assert abs(time.time() - time.mktime(time.strptime(head["started"][:19], "%Y-%m-%dT%H:%M:%S"))) < 86_400
        assert head["started"].endswith("+00:00")

        again = place.session(manifest)
        again.once(3)
        assert "3 films: 0 segmented, 2 done before, 1 failed, in " in capsys.readouterr().err
        assert (again.tally.worked, again.tally.before) == (0, 2)
        assert place.said()["films_per_second"] == 0
        assert place.rows()[0] == ("a.png", "accept")

        anew = place.session(manifest, again=True)
        anew.once(3)
        assert (anew.tally.segmented, anew.tally.before, anew.tally.failed) == (2, 0, 1)

    def test_times_are_told_to_a_tenth(
        self,
        place: Place,
        manifest: Manifest,
        small: bytes,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(session_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        for name in ("a.png", "b.png"):
            place.put(name, small)
        session = place.session(manifest, formats=("dicom-seg", "mask"))
        assert session.complete is True
        clock[0] = 104.0625
        session.once(2)
        said = capsys.readouterr().err
        assert "in 4.1 s (0.5 films/s); outputs in" in said
        assert "formats that could not be made: 2 dicom-seg" in said
        assert "film/s]" in said or "s/film]" in said
        assert (place.said()["seconds"], place.said()["films_per_second"]) == (4.06, 0.49)

    def test_one_film_is_one_film(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put("a.png", small)
        place.session(manifest).once(1)
        assert "1 film: 1 segmented" in capsys.readouterr().err

    def test_reports_cover_films_of_this_recipe_alone(self, place: Place, manifest: Manifest, small: bytes) -> None:
        place.put("a.png", small)
        place.put("b.png", b"no film")
        place.session(manifest).once(2)
        place.put("c.png", small)
        order = Order(place.source, place.target, ("mask",), Options(), ("a", "b"))
        workers: Any = Alone(order, 1, manifest.fileno())
        names = ["a.png", "b.png", "c.png", "never.png"]
        here = Run(order, manifest, workers, Stop(), again=False)
        assert [entry.path for entry in here.entries(names)] == ["a.png", "b.png"]
        other = Order(place.source, place.target, ("mask",), Options(threshold=0.3), ("a", "b"))
        assert not list(Run(other, manifest, workers, Stop(), again=False).entries(names))

    def test_a_run_that_is_stopped_begins_no_other_film(self, place: Place, manifest: Manifest, small: bytes) -> None:
        for name in ("a.png", "b.png", "c.png"):
            place.put(name, small)
        order = Order(place.source, place.target, ("mask",), Options(), ("a", "b"))
        workers: Any = Alone(order, 1, manifest.fileno())
        run = Run(order, manifest, workers, place.stop, again=False)
        seen: list[tuple[str, bool]] = []

        def note(entry: Entry, before: bool) -> None:
            seen.append((entry.path, before))
            place.stop.asked = entry.path == "b.png"

        run.films(["a.png", "b.png", "c.png"], note)
        assert seen == [("a.png", False), ("b.png", False)]
        place.stop.asked = False
        run.films(["a.png", "b.png", "c.png"], lambda entry, before: seen.append((entry.path, before)))
        assert seen[2:] == [("a.png", True), ("b.png", True), ("c.png", False)]

    def test_a_full_disk_costs_the_reports_and_no_film(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put("a.png", small)
        place.table.mkdir()
        session = place.session(manifest)
        session.once(1)
        assert not session.complete
        assert "failed: the reports cannot be written (Is a directory)" in capsys.readouterr().err
        assert (place.target / "a.png.mask.png").exists()
        place.table.rmdir()
        session.once(1)
        assert session.complete

    def test_no_report_is_written_unasked(self, place: Place, manifest: Manifest, small: bytes) -> None:
        place.put("a.png", small)
        order = Order(place.source, place.target, ("mask",), Options(), ("a", "b"))
        session = Session(Source(place.source), order, manifest, place.stop, Settings(1, False, None, None))
        session.once(1)
        assert session.complete
        assert not place.report.exists()
        assert not place.table.exists()

    def test_a_closed_folder_is_told_once(
        self, place: Place, manifest: Manifest, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place.put("a.png", small)
        session = place.session(manifest)
        for folder in ("ward\n1", "ward\n1", "b"):
            session.closed(folder)
        assert capsys.readouterr().err.splitlines() == [
            "failed: ward\\n1: this folder cannot be read; its films are not counted",
            "failed: b: this folder cannot be read; its films are not counted",
        ]
        session.once(1)
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
            lambda: place.put("b.png", b"no film"),
            lambda: None,
            lambda: place.put("c.png", small),
            lambda: setattr(place.stop, "asked", True),
        ]

        def sleep(seconds: float) -> None:
            """In place of a rest something arrives."""
            rests.append(seconds)
            written.append(place.rows())
            arrivals.pop(0)()

        monkeypatch.setattr(place.stop, "sleep", sleep)
        session = place.session(manifest)
        session.watch(7)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0] == f"watching {place.source}; Ctrl-C ends it"
        assert lines[1] == "accept: a.png"
        assert lines[2].startswith("failed: b.png: unsupported-format: ")
        assert lines[3] == "accept: c.png"
        assert lines[4].startswith("3 films: 2 segmented, 0 done before, 1 failed, in ")
        assert rests == [7, 7, 7, 7]
        # Written at once, then a minute later at the earliest, and at the end.
        assert written == [[("a.png", "accept")]] * 4
        assert [name for name, _ in place.rows()] == ["a.png", "b.png", "c.png"]
        assert Alone.closed

        monkeypatch.setattr(session_module, "REPORT_EVERY", 0)
        place.stop.asked = False
        written.clear()
        times: list[int] = []

        def again(seconds: float) -> None:
            times.append(place.table.stat().st_mtime_ns)
            if len(times) == 3:
                place.stop.asked = True
            if len(times) == 1:
                place.put("d.png", small)

        monkeypatch.setattr(place.stop, "sleep", again)
        later = place.session(manifest)
        later.watch(7)
        # Films that an earlier run has done are counted in silence, and a look that finds nothing writes nothing.
        assert (later.tally.before, later.tally.segmented) == (2, 1)
        assert "accept: a.png" not in (said := capsys.readouterr().err)
        assert "accept: d.png" in said
        assert times[0] < times[1] == times[2]

    def test_a_drop_folder_without_films_has_its_reports_too(
        self, place: Place, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def films(source: Source, closed: Callable[[str], None] = lambda _: None) -> Iterator[str]:
            closed("ward")
            return iter(())

        def sleep(seconds: float) -> None:
            assert place.said()["counts"]["films"] == 0  # while it waits for the first one
            place.stop.asked = True

        monkeypatch.setattr(Source, "films", films)
        monkeypatch.setattr(place.stop, "sleep", sleep)
        place.session(manifest).watch(7)
        assert "failed: ward: this folder cannot be read" in capsys.readouterr().err
        assert place.said()["closed_folders"] == ["ward"]
        assert place.said()["stopped"] is True

    def test_doubtful_films_are_told_with_their_reasons(
        self, place: Place, manifest: Manifest, capsys: pytest.CaptureFixture[str]
    ) -> None:
        session = place.session(manifest)
        session._announce(good("a.png", "review", "one-lung cut-off"), False)
        session._announce(good("b.png", "reject", "no-lung"), True)
        assert capsys.readouterr().err == "review: a.png: one-lung cut-off\n"
        assert (session.tally.segmented, session.tally.before) == (1, 1)


class TestStop:
    @pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_signal_asks_and_the_second_ends(self, kind: signal.Signals) -> None:
        before = signal.getsignal(kind)
        with Stop() as stop:
            assert not stop.asked
            os.kill(os.getpid(), kind)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), kind)
        assert signal.getsignal(kind) is before

    def test_a_sleeper_is_woken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stop = Stop()
        threading.Timer(0.3, lambda: setattr(stop, "asked", True)).start()
        started = time.monotonic()
        stop.sleep(60)
        assert 0.2 < time.monotonic() - started < 5
        stop.sleep(60)
        assert time.monotonic() - started < 5
        stop.asked = False
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
