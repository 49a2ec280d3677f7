"""A folder of images: what is done, what is left alone, and what survives being killed."""

from __future__ import annotations

import csv
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from films import encode
from PIL import Image, ImageOps
from processes import (
    SLOW_FILES,
    alive,
    command,
    has_reader,
    one_line,
    reader_of,
    run,
    send,
    smaller,
    wait_for,
    workers_of,
)

from lungseg.batch.manifest import MANIFEST_NAME
from lungseg.cli.main import main

PROC = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")


@pytest.fixture(scope="session")
def small(rg1_png: bytes) -> bytes:
    """RG1 at a sixth of its size: as real, and sooner done."""
    return smaller(rg1_png)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder of images."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a folder of outputs will be."""
    return tmp_path / "out"


@pytest.fixture
def ward(source: Path, rg1: bytes, small: bytes) -> Path:
    """A folder with good images and bad ones."""
    (source / "ward a").mkdir()
    (source / "film.dcm").write_bytes(rg1)
    (source / "film.png").write_bytes(small)
    (source / "ward a" / "ö +.png").write_bytes(small)
    (source / "cut.png").write_bytes(small[:5000])
    (source / "two\nlines.txt").write_bytes(b"no image")
    (source / ".hidden").write_bytes(b"no image either")
    return source


def outputs(target: Path) -> dict[str, int]:
    """The time of each output, by its path."""
    files = (path for path in target.rglob("*") if path.is_file() and path.name != MANIFEST_NAME)
    return {path.relative_to(target).as_posix(): path.stat().st_mtime_ns for path in files}


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command in a process group of its own, as a shell starts it; killed at the end if it still runs."""
    with subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


class TestOneRun:
    def test_every_good_film_gets_its_outputs(self, ward: Path, target: Path, tmp_path: Path, rg1: bytes) -> None:
        report, measures = tmp_path / "run.json", tmp_path / "measures.csv"
        formats = ("--format", "mask", "--format", "dicom-seg", "--workers", 2)
        done = run("batch", ward, target, *formats, "--report", report, "--csv", measures)
        assert done.returncode == 1
        assert done.stdout == b""
        first = outputs(target)
        assert set(first) == {
            "film.dcm.mask.png",
            "film.dcm.seg.dcm",
            "film.png.mask.png",
            "ward a/ö +.png.mask.png",
            "cut.png.error.json",
            "two\nlines.txt.error.json",
        }
        assert (target / "film.dcm.mask.png").read_bytes() == run("segment", "-", data=rg1).stdout
        problem = json.loads((target / "two\nlines.txt.error.json").read_text())
        assert problem["code"] == "unsupported-format"
        assert "two" not in json.dumps(problem)

        said = done.stderr.decode()
        assert "failed: cut.png: damaged-film" in said
        assert r"failed: two\nlines.txt: unsupported-format" in said
        assert "5/5" in said
        assert "5 images: 3 segmented, 0 done before, 2 failed" in said
        assert "formats that could not be produced: 2 dicom-seg" in said

        told = json.loads(report.read_text())
        verdicts = {name: told["counts"][name] for name in ("accept", "review", "reject")}
        assert sum(verdicts.values()) == 3
        assert told["failures"] == {"damaged-film": 1, "unsupported-format": 1}
        listed = {film["path"]: film["outcome"] for film in told["images"]}
        assert {path for path, outcome in listed.items() if outcome == "failed"} == {"cut.png", "two\nlines.txt"}
        assert len(listed) == 5 - verdicts["accept"]
        rows = table(measures)
        assert list(rows) == ["cut.png", "film.dcm", "film.png", "two\nlines.txt", "ward a/ö +.png"]
        assert (rows["film.dcm"]["width"], rows["film.dcm"]["height"]) == ("1841", "1955")
        right, left = (int(rows["film.dcm"][f"{side}_px"]) for side in ("right", "left"))
        assert 0.5 < right / left < 2
        assert (rows["cut.png"]["verdict"], rows["cut.png"]["reasons"]) == ("failed", "damaged-film")

        again = run("batch", ward, target, *formats, "--report", report, "--csv", measures)
        assert again.returncode == 1
        assert outputs(target) == first
        assert "5 images: 0 segmented, 3 done before, 2 failed" in again.stderr.decode()
        assert "failed: cut.png: damaged-film" in again.stderr.decode()
        assert table(measures) == rows
        assert json.loads(report.read_text())["images"] == told["images"]

    def test_one_films_output_in_the_way_stops_no_other(self, source: Path, target: Path, small: bytes) -> None:
        (source / "ward").mkdir()
        long = "n" * 245 + ".png"  # with .mask.png longer than a name may be
        for name in ("1.png", "2.png", "ward/3.png", long):
            (source / name).write_bytes(small)
        (source / "gone.png").symlink_to(source.parent / "nowhere")
        (target / "1.png.mask.png").mkdir(parents=True)
        (target / "ward").write_bytes(b"a file where a folder must go")
        measures = source.parent / "m.csv"
        done = run("batch", source, target, "--workers", "2", "--csv", measures)
        said = done.stderr.decode()
        assert done.returncode == 1
        assert "5 images: 2 segmented, 0 done before, 3 failed" in said
        assert (target / "2.png.mask.png").exists()
        assert len([path for path in target.glob("nnn*.mask.png") if len(path.name) <= 255]) == 1
        for line in ("1.png: unwritable", "ward/3.png: unwritable", "gone.png: unreadable"):
            assert line in said
        assert len(table(measures)) == 5
        (target / "1.png.mask.png").rmdir()
        (source / "gone.png").unlink()
        again = run("batch", source, target)
        assert "4 images: 1 segmented, 2 done before, 1 failed" in again.stderr.decode()

    def test_replaced_and_swapped_films_of_one_size_and_time_are_done_again(
        self, source: Path, target: Path, small: bytes
    ) -> None:
        """Another patient's mask stayed where only bytes and time of a file were looked at."""
        other = smaller_mirrored(small)
        size = max(len(small), len(other))
        for name, data in (("a.png", small), ("b.png", other)):
            (source.parent / name).write_bytes(data.ljust(size, b"\0"))
            os.utime(source.parent / name, (1_500_000_000, 1_500_000_000))
        for name in ("a.png", "b.png"):
            shutil.copy2(source.parent / name, source / name)
        assert "2 segmented" in run("batch", source, target).stderr.decode()
        first = {name: (target / f"{name}.mask.png").read_bytes() for name in ("a.png", "b.png")}
        (source / "a.png").rename(source / "c")
        (source / "b.png").rename(source / "a.png")
        (source / "c").rename(source / "b.png")
        assert "2 segmented" in run("batch", source, target).stderr.decode()
        assert (target / "a.png.mask.png").read_bytes() == first["b.png"]
        assert (target / "b.png.mask.png").read_bytes() == first["a.png"]
        shutil.copy2(source.parent / "b.png", source / "b.png")  # over the other one, as cp -p does
        assert "1 segmented, 1 done before" in run("batch", source, target).stderr.decode()
        assert (target / "b.png.mask.png").read_bytes() == first["b.png"]

    def test_copied_folder_is_not_segmented_again(self, source: Path, target: Path, small: bytes) -> None:
        (source / "a.png").write_bytes(small)
        run("batch", source, target)
        moved = source.parent / "moved"
        shutil.copytree(source, moved)
        for _ in range(2):
            assert "0 segmented, 1 done before" in run("batch", moved, target).stderr.decode()

    def test_own_outputs_and_pipes_are_no_films(self, source: Path, target: Path, small: bytes) -> None:
        (source / "a.png").write_bytes(small)
        assert run("segment", source / "a.png", "--overlay", source / "a.png.overlay.png").returncode == 0
        os.mkfifo(source.parent / "pipe")
        (source / "m.jpg").symlink_to("../pipe")
        (source / "other").symlink_to(source.parent, target_is_directory=True)
        report = source.parent / "r.json"
        done = run("batch", source, target, "--report", report)
        said = done.stderr.decode()
        assert done.returncode == 1
        assert "2 images: 1 segmented, 0 done before, 1 failed" in said
        assert "failed: m.jpg: unreadable: The file is a pipe or a device." in said
        assert "skipped: other: symlinks to folders are not followed" in said
        assert "skipped: 2 outputs of this program in the image folders" in said
        told = json.loads(report.read_text())
        assert (told["skipped_outputs"], told["linked_folders"]) == (2, ["other"])

    def test_full_disk_leaves_no_film_out_of_the_reports(
        self, source: Path, target: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither outputs nor the manifest's line can be written: a limit of 0 bytes for each file but devices."""
        for number in range(3):
            (source / f"{number}.png").write_bytes(small)
        (source / "no image.txt").write_bytes(b"no image")
        target.mkdir()
        line = shlex.join(command("batch", source, target, "--csv", "/dev/stdout"))
        limited = f"ulimit -f 0; trap '' XFSZ; exec {line}"
        done = subprocess.run(["bash", "-c", limited], capture_output=True, check=False, timeout=120)
        assert done.returncode == 1
        assert b"4 images: 0 segmented, 0 done before, 4 failed" in done.stderr
        rows = [line.split(",")[0] for line in done.stdout.decode().splitlines()]
        assert rows == ["path", "0.png", "1.png", "2.png", "no image.txt"]

    def test_film_that_takes_too_long_fails_alone(
        self, source: Path, target: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
        (source / "a.png").write_bytes(small)
        os.mkfifo(source / "slow.png")
        done = run("batch", source, target, "--timeout", "3")
        assert done.returncode == 1
        assert "2 images: 1 segmented, 0 done before, 1 failed" in done.stderr.decode()
        assert "failed: slow.png: internal-error" in done.stderr.decode()

    def test_worker_ends_with_a_run_that_is_killed(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It held the lock for as long as its image took, and nobody was left to set that a limit."""
        monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
        os.mkfifo(source / "slow.png")
        with started("batch", source, target) as process:
            slow = reader_of(source / "slow.png")  # open, so that it waits for bytes
            (worker,) = workers_of(process.pid)
            process.kill()
            process.wait()
            wait_for(lambda: not alive(worker), 20)
            os.close(slow)
        (source / "slow.png").unlink()
        assert run("batch", source, target).returncode == 2  # no image is left; and no other run is in the way

    def test_folder_named_like_an_output_is_not_in_its_way(self, source: Path, target: Path, small: bytes) -> None:
        (source / "a.png").write_bytes(small)
        (source / "a.png.mask.png").mkdir()
        (source / "a.png.mask.png" / "b.png").write_bytes(small)
        assert run("batch", source, target).returncode == 0
        assert sorted(name.rpartition("/")[2] for name in outputs(target)) == ["a.png.mask.png", "b.png.mask.png"]

    def test_own_png_apart_from_its_image_is_refused(self, source: Path, target: Path, small: bytes) -> None:
        (source.parent / "a.png").write_bytes(small)
        assert run("segment", source.parent / "a.png", "-o", source / "look.png", "--format", "overlay").returncode == 0
        done = run("batch", source, target)
        assert done.returncode == 1
        assert "failed: look.png: own-output: The PNG is an output of this program." in done.stderr.decode()

    def test_strict_tells_of_doubtful_masks(self, source: Path, target: Path, rg1_png: bytes) -> None:
        (source / "tiny.png").write_bytes(smaller(rg1_png, 100))
        assert run("batch", source, target).returncode == 0
        strict = run("batch", source, target, "--strict")
        assert strict.returncode == 3
        assert "1 small-film" in strict.stderr.decode()
        assert (target / "tiny.png.mask.png").exists()


class TestResume:
    def test_outputs_outlive_a_share_that_is_not_mounted(self, source: Path, target: Path, small: bytes) -> None:
        elsewhere = source.parent / "share"
        elsewhere.mkdir()
        (elsewhere / "a.png").write_bytes(small)
        (source / "a.png").symlink_to(elsewhere / "a.png")
        assert run("batch", source, target).returncode == 0
        elsewhere.rename(source.parent / "gone")
        assert run("batch", source, target).returncode == 1
        assert set(outputs(target)) == {"a.png.mask.png", "a.png.error.json"}
        (source.parent / "gone").rename(elsewhere)
        assert run("batch", source, target).returncode == 0
        assert set(outputs(target)) == {"a.png.mask.png"}

    def test_what_has_changed_is_done_again(self, source: Path, target: Path, small: bytes) -> None:
        for name in ("same.png", "lost.png", "bad.png", "good.png", "worse.png"):
            (source / name).write_bytes(small)
        (source / "bad.png").write_bytes(b"no image")
        assert run("batch", source, target, "--workers", 2).returncode == 1
        first = outputs(target)

        (target / "lost.png.mask.png").write_bytes(b"")
        (source / "bad.png").write_bytes(small)
        (source / "worse.png").write_bytes(b"damaged meanwhile")
        done = run("batch", source, target, "--workers", 2, "--format", "json", "--format", "mask")
        assert "5 images: 4 segmented, 0 done before, 1 failed" in done.stderr.decode()
        second = outputs(target)
        names = ("same.png", "lost.png", "bad.png", "good.png")
        assert set(second) == {f"{n}.{o}" for n in names for o in ("mask.png", "json")} | {"worse.png.error.json"}
        kept = {name for name in second if second[name] == first.get(name)}
        assert kept == {"same.png.mask.png", "good.png.mask.png"}

        done = run("batch", source, target, "--workers", 2, "--threshold", "0.3")
        assert "5 images: 4 segmented, 0 done before, 1 failed" in done.stderr.decode()
        third = outputs(target)
        assert set(third) == {f"{name}.mask.png" for name in names} | {"worse.png.error.json"}
        assert not set(third.items()) & set(second.items())
        assert run("batch", source, target, "--again", "--threshold", "0.3").returncode == 1
        assert not set(outputs(target).items()) & set(third.items())

    @PROC
    def test_a_run_that_was_killed_goes_on(self, source: Path, target: Path, small: bytes) -> None:
        for number in range(20):
            (source / f"{number}.png").write_bytes(small)
        with started("batch", source, target, "--workers", 2) as batch:
            wait_for(lambda: len(list(target.glob("*.mask.png"))) > 4)
            workers = workers_of(batch.pid)
            batch.kill()
            batch.wait()
        wait_for(lambda: not any(map(alive, workers)))
        with (target / MANIFEST_NAME).open("ab") as manifest:
            manifest.write(b'{"path":"19.png","size":12')
        (target / ".lung-partial-abcd1234").write_bytes(b"half a mask")
        before = outputs(target)
        del before[".lung-partial-abcd1234"]
        assert 4 < len(before) < 20
        done = run("batch", source, target, "--workers", 2)
        assert done.returncode == 0
        assert f"20 images: {20 - len(before)} segmented, {len(before)} done before, 0 failed" in done.stderr.decode()
        after = outputs(target)
        assert set(after) == {f"{number}.png.mask.png" for number in range(20)}
        assert before.items() <= after.items()
        assert "20 done before" in run("batch", source, target).stderr.decode()

    def test_outputs_of_an_earlier_version_are_made_again(self, source: Path, target: Path, small: bytes) -> None:
        (source / "film.png").write_bytes(small)
        target.mkdir()
        (target / "film.png.mask.png").write_bytes(b"of who knows what")
        (target / MANIFEST_NAME).write_bytes(b'{"film": "film.png", "done": true}\nno JSON at all\n')
        assert "1 segmented" in run("batch", source, target).stderr.decode()
        assert (target / "film.png.mask.png").read_bytes().startswith(b"\x89PNG")


def smaller_mirrored(film: bytes) -> bytes:
    """Another patient: the image, mirrored."""
    with Image.open(io.BytesIO(film)) as image:
        return encode(ImageOps.mirror(image), "PNG")


@PROC
class TestKilled:
    """An image that is a named pipe keeps its worker waiting for as long as a test needs."""

    @pytest.fixture
    def pipe(self, source: Path, small: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
        for name in ("a.png", "z.png"):
            (source / name).write_bytes(small)
        os.mkfifo(source.parent / "pipe")
        (source / "slow.png").symlink_to(source.parent / "pipe")
        return source.parent / "pipe"

    def test_a_film_that_kills_its_process_loses_only_itself(self, source: Path, target: Path, pipe: Path) -> None:
        with started("batch", source, target) as batch:
            for _ in range(2):
                number = reader_of(pipe)
                (worker,) = workers_of(batch.pid)
                os.kill(worker, signal.SIGKILL)
                os.close(number)
                wait_for(lambda: not has_reader(pipe))
            _, said = batch.communicate(timeout=60)
        assert batch.returncode == 1
        assert b"failed: slow.png: internal-error" in said
        assert b"3 images: 2 segmented, 0 done before, 1 failed" in said
        assert set(outputs(target)) == {"a.png.mask.png", "z.png.mask.png", "slow.png.error.json"}

    def test_a_process_that_is_killed_once_loses_no_film(
        self, source: Path, target: Path, pipe: Path, small: bytes
    ) -> None:
        with started("batch", source, target, "--workers", 2) as batch:
            number = reader_of(pipe)
            wait_for(lambda: len(list(target.glob("*.mask.png"))) == 2)
            for worker in workers_of(batch.pid):
                os.kill(worker, signal.SIGKILL)
            os.close(number)
            wait_for(lambda: not has_reader(pipe))
            send(reader_of(pipe), small)
            _, said = batch.communicate(timeout=60)
        assert batch.returncode == 0, said
        assert b"3 images: 3 segmented" in said

    def test_ctrl_c_lets_the_film_in_work_be_finished(
        self, source: Path, target: Path, pipe: Path, small: bytes
    ) -> None:
        with started("batch", source, target, "--report", source.parent / "r.json") as batch:
            number = reader_of(pipe)
            os.killpg(batch.pid, signal.SIGINT)
            send(number, small)
            _, said = batch.communicate(timeout=60)
        assert batch.returncode == 130
        assert b"run the same command again to continue" in said
        assert set(outputs(target)) == {"a.png.mask.png", "slow.png.mask.png"}
        assert json.loads((source.parent / "r.json").read_text())["stopped"] is True

    def test_a_second_ctrl_c_does_not_wait(self, source: Path, target: Path, pipe: Path) -> None:
        with started("batch", source, target) as batch:
            number = reader_of(pipe)
            workers = workers_of(batch.pid)
            os.kill(batch.pid, signal.SIGINT)
            time.sleep(0.5)
            assert batch.poll() is None
            os.kill(batch.pid, signal.SIGINT)
            _, said = batch.communicate(timeout=60)
            os.close(number)
        assert batch.returncode == 130
        assert b"Traceback" not in said
        wait_for(lambda: not any(map(alive, workers)))


class TestWatch:
    def test_films_are_done_as_they_arrive(self, source: Path, target: Path, small: bytes) -> None:
        (source / "first.png").write_bytes(small)
        report = source.parent / "r.json"
        with started("batch", source, target, "--watch", "--every", 1, "--report", report) as batch:
            with (source / "growing.png").open("wb") as growing:
                pieces = iter(range(0, len(small) - 1000, 100))
                while not (target / "first.png.mask.png").exists():
                    start = next(pieces)
                    growing.write(small[start : start + 100])
                    growing.flush()
                    time.sleep(0.1)
                growing.write(small[growing.tell() :])
            (source / "ward").mkdir()
            (source / "ward" / "new.png").write_bytes(small)
            wait_for(lambda: len(list(target.rglob("*.mask.png"))) == 3)
            (source / "bad.png").write_bytes(b"no image")
            wait_for((target / "bad.png.error.json").exists)
            os.killpg(batch.pid, signal.SIGTERM)
            _, said = batch.communicate(timeout=60)
        assert batch.returncode == 0
        for line in (b"accept: first.png", b"accept: ward/new.png", b"failed: bad.png: unsupported-format"):
            assert line in said
        assert b"4 images: 3 segmented, 0 done before, 1 failed" in said
        assert json.loads(report.read_text())["counts"]["images"] == 4


class TestWrongUse:
    """In this process: nothing of it comes as far as an image."""

    @pytest.mark.parametrize("target", ["in", "in/masks", "in/."])
    def test_masks_are_never_taken_for_films(self, ward: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["batch", str(ward), str(ward.parent / target)]) == 2
        assert "OUT_DIR is in IN_DIR" in capsys.readouterr().err
        assert not (ward / "masks").exists()

    def test_wrong_use_is_told(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(source.parent)
        for arguments in (
            ("nowhere", "out"),
            ("nowhere/*.png", "out"),
            ("in", "out"),
            ("in", "in/../in"),
            ("in/*", "in"),
            ("in", "out", "--report", "nowhere/r.json"),
            ("in", "out", "--csv", "in/m.csv"),
            ("in", "out", "--csv", "m", "--report", "m"),
        ):
            assert main(["batch", *arguments]) == 2, arguments
            said = capsys.readouterr().err.splitlines()
            assert len(said) == 1, said
            assert said[0].startswith("error: ")
        assert not target.exists()

    def test_the_command_line_itself_is_refused_in_one_line(self, source: Path, target: Path) -> None:
        done = run("batch", source, target, "--workers", "0")
        assert done.returncode == 2
        assert "see lungseg batch --help" in one_line(done)

    def test_a_pattern_finds_films(self, ward: Path, target: Path) -> None:
        done = run("batch", f"{ward}/**/*ö*.png", target)
        assert done.returncode == 0, done.stderr
        assert set(outputs(target)) == {"ward a/ö +.png.mask.png"}
