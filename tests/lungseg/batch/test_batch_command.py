"""`batch` as a command: outputs, reports, what is skipped, and invalid arguments."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from batch_folder import output_times, read_table, start_batch
from films import encode
from PIL import Image, ImageOps
from processes import SLOW_FILES, command, one_line, run, smaller, wait_for

from lungseg.cli.main import main


def mirror_image(data: bytes) -> bytes:
    """Return another patient's image: the same, mirrored."""
    with Image.open(io.BytesIO(data)) as image:
        return encode(ImageOps.mirror(image), "PNG")


class TestOneRun:
    def test_every_good_image_gets_its_outputs(self, ward: Path, target: Path, tmp_path: Path, rg1: bytes) -> None:
        report, measures = tmp_path / "run.json", tmp_path / "measures.csv"
        formats = ("--format", "mask", "--format", "dicom-seg", "--workers", 2)
        result = run("batch", ward, target, *formats, "--report", report, "--csv", measures)
        assert result.returncode == 1
        assert result.stdout == b""
        first = output_times(target)
        assert set(first) == {
            "image.dcm.mask.png",
            "image.dcm.seg.dcm",
            "image.png.mask.png",
            "ward a/ö +.png.mask.png",
            "cut.png.error.json",
            "two\nlines.txt.error.json",
        }
        assert (target / "image.dcm.mask.png").read_bytes() == run("segment", "-", data=rg1).stdout
        problem = json.loads((target / "two\nlines.txt.error.json").read_text())
        assert problem["code"] == "unsupported-format"
        assert "two" not in json.dumps(problem)

        printed = result.stderr.decode()
        assert "failed: cut.png: damaged-film" in printed
        assert r"failed: two\nlines.txt: unsupported-format" in printed
        assert "5/5" in printed
        assert "5 images: 3 segmented, 0 done before, 2 failed" in printed
        assert "formats that could not be produced: 2 dicom-seg" in printed

        written = json.loads(report.read_text())
        verdicts = {name: written["counts"][name] for name in ("accept", "review", "reject")}
        assert sum(verdicts.values()) == 3
        assert written["failures"] == {"damaged-film": 1, "unsupported-format": 1}
        listed = {image["path"]: image["outcome"] for image in written["images"]}
        assert {path for path, outcome in listed.items() if outcome == "failed"} == {"cut.png", "two\nlines.txt"}
        assert len(listed) == 5 - verdicts["accept"]
        rows = read_table(measures)
        assert list(rows) == ["cut.png", "image.dcm", "image.png", "two\nlines.txt", "ward a/ö +.png"]
        assert (rows["image.dcm"]["width"], rows["image.dcm"]["height"]) == ("1841", "1955")
        right, left = (int(rows["image.dcm"][f"{side}_px"]) for side in ("right", "left"))
        assert 0.5 < right / left < 2
        assert (rows["cut.png"]["verdict"], rows["cut.png"]["reasons"]) == ("failed", "damaged-film")

        again = run("batch", ward, target, *formats, "--report", report, "--csv", measures)
        assert again.returncode == 1
        assert output_times(target) == first
        assert "5 images: 0 segmented, 3 done before, 2 failed" in again.stderr.decode()
        assert "failed: cut.png: damaged-film" in again.stderr.decode()
        assert read_table(measures) == rows
        assert json.loads(report.read_text())["images"] == written["images"]

    def test_unwritable_output_affects_only_its_image(self, source: Path, target: Path, small: bytes) -> None:
        (source / "ward").mkdir()
        long = "n" * 245 + ".png"  # with .mask.png, it is longer than a file name may be
        for name in ("1.png", "2.png", "ward/3.png", long):
            (source / name).write_bytes(small)
        (source / "gone.png").symlink_to(source.parent / "nowhere")
        (target / "1.png.mask.png").mkdir(parents=True)
        (target / "ward").write_bytes(b"a file where a folder must go")
        measures = source.parent / "m.csv"
        result = run("batch", source, target, "--workers", "2", "--csv", measures)
        printed = result.stderr.decode()
        assert result.returncode == 1
        assert "5 images: 2 segmented, 0 done before, 3 failed" in printed
        assert (target / "2.png.mask.png").exists()
        assert len([path for path in target.glob("nnn*.mask.png") if len(path.name) <= 255]) == 1
        for line in ("1.png: unwritable", "ward/3.png: unwritable", "gone.png: unreadable"):
            assert line in printed
        assert len(read_table(measures)) == 5
        (target / "1.png.mask.png").rmdir()
        (source / "gone.png").unlink()
        again = run("batch", source, target)
        assert "4 images: 1 segmented, 2 done before, 1 failed" in again.stderr.decode()

    def test_swapped_images_of_equal_size_and_time_are_processed_again(
        self, source: Path, target: Path, small: bytes
    ) -> None:
        """If only size and time of a file counted, another patient's mask would be kept."""
        other = mirror_image(small)
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
        shutil.copy2(source.parent / "b.png", source / "b.png")  # overwrites the other one, as cp -p does
        assert "1 segmented, 1 done before" in run("batch", source, target).stderr.decode()
        assert (target / "b.png.mask.png").read_bytes() == first["b.png"]

    def test_copied_folder_is_not_segmented_again(self, source: Path, target: Path, small: bytes) -> None:
        (source / "a.png").write_bytes(small)
        run("batch", source, target)
        moved = source.parent / "moved"
        shutil.copytree(source, moved)
        for _ in range(2):
            assert "0 segmented, 1 done before" in run("batch", moved, target).stderr.decode()

    def test_own_outputs_pipes_and_linked_folders_are_not_segmented(
        self, source: Path, target: Path, small: bytes
    ) -> None:
        (source / "a.png").write_bytes(small)
        assert run("segment", source / "a.png", "--overlay", source / "a.png.overlay.png").returncode == 0
        os.mkfifo(source.parent / "pipe")
        (source / "m.jpg").symlink_to("../pipe")
        (source / "other").symlink_to(source.parent, target_is_directory=True)
        report = source.parent / "r.json"
        result = run("batch", source, target, "--report", report)
        printed = result.stderr.decode()
        assert result.returncode == 1
        assert "2 images: 1 segmented, 0 done before, 1 failed" in printed
        assert "failed: m.jpg: unreadable: The file is a pipe or a device." in printed
        assert "skipped: other: symlinks to folders are not followed" in printed
        assert "skipped: 2 outputs of this program in the image folders" in printed
        written = json.loads(report.read_text())
        assert (written["skipped_outputs"], written["linked_folders"]) == (2, ["other"])

    def test_full_disk_leaves_no_image_out_of_the_table(
        self, source: Path, target: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a limit of 0 bytes per file, neither outputs nor the manifest can be written."""
        for number in range(3):
            (source / f"{number}.png").write_bytes(small)
        (source / "no image.txt").write_bytes(b"no image")
        target.mkdir()
        line = shlex.join(command("batch", source, target, "--csv", "/dev/stdout"))
        limited = f"ulimit -f 0; trap '' XFSZ; exec {line}"
        result = subprocess.run(["bash", "-c", limited], capture_output=True, check=False, timeout=120)
        assert result.returncode == 1
        assert b"4 images: 0 segmented, 0 done before, 4 failed" in result.stderr
        rows = [line.split(",")[0] for line in result.stdout.decode().splitlines()]
        assert rows == ["path", "0.png", "1.png", "2.png", "no image.txt"]

    def test_timeout_affects_only_its_image(
        self, source: Path, target: Path, small: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
        (source / "a.png").write_bytes(small)
        os.mkfifo(source / "slow.png")
        result = run("batch", source, target, "--timeout", "3")
        assert result.returncode == 1
        assert "2 images: 1 segmented, 0 done before, 1 failed" in result.stderr.decode()
        assert "failed: slow.png: internal-error" in result.stderr.decode()

    def test_folder_named_like_an_output_is_not_in_its_way(self, source: Path, target: Path, small: bytes) -> None:
        (source / "a.png").write_bytes(small)
        (source / "a.png.mask.png").mkdir()
        (source / "a.png.mask.png" / "b.png").write_bytes(small)
        assert run("batch", source, target).returncode == 0
        assert sorted(name.rpartition("/")[2] for name in output_times(target)) == ["a.png.mask.png", "b.png.mask.png"]

    def test_own_png_without_its_image_is_refused(self, source: Path, target: Path, small: bytes) -> None:
        (source.parent / "a.png").write_bytes(small)
        assert run("segment", source.parent / "a.png", "-o", source / "look.png", "--format", "overlay").returncode == 0
        result = run("batch", source, target)
        assert result.returncode == 1
        assert "failed: look.png: own-output: The PNG is an output of this program." in result.stderr.decode()

    def test_strict_exits_3_for_doubtful_masks(self, source: Path, target: Path, rg1_png: bytes) -> None:
        (source / "tiny.png").write_bytes(smaller(rg1_png, 100))
        assert run("batch", source, target).returncode == 0
        strict = run("batch", source, target, "--strict")
        assert strict.returncode == 3
        assert "1 small-film" in strict.stderr.decode()
        assert (target / "tiny.png.mask.png").exists()


class TestWatch:
    def test_images_are_processed_as_they_arrive(self, source: Path, target: Path, small: bytes) -> None:
        (source / "first.png").write_bytes(small)
        report = source.parent / "r.json"
        with start_batch("batch", source, target, "--watch", "--every", 1, "--report", report) as batch:
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
            _, printed = batch.communicate(timeout=60)
        assert batch.returncode == 0
        for line in (b"accept: first.png", b"accept: ward/new.png", b"failed: bad.png: unsupported-format"):
            assert line in printed
        assert b"4 images: 3 segmented, 0 done before, 1 failed" in printed
        assert json.loads(report.read_text())["counts"]["images"] == 4


class TestWrongUse:
    """In this process: no image is processed."""

    @pytest.mark.parametrize("target", ["in", "in/masks", "in/."])
    def test_output_folder_in_the_image_folder_is_refused(
        self, ward: Path, target: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["batch", str(ward), str(ward.parent / target)]) == 2
        assert "OUT_DIR is in IN_DIR" in capsys.readouterr().err
        assert not (ward / "masks").exists()

    def test_invalid_folders_are_one_line(
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
            printed = capsys.readouterr().err.splitlines()
            assert len(printed) == 1, printed
            assert printed[0].startswith("error: ")
        assert not target.exists()

    def test_file_as_output_folder_is_refused(
        self, ward: Path, target: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The shell replaces an unquoted pattern by file names."""
        target.write_bytes(small)
        for name in (target, target / "masks"):
            assert main(["batch", str(ward / "image.png"), str(name)]) == 2
            assert capsys.readouterr().err == "error: OUT_DIR is a file, or is below one; name a folder\n"
        assert target.read_bytes() == small

    def test_invalid_option_is_one_line(self, source: Path, target: Path) -> None:
        result = run("batch", source, target, "--workers", "0")
        assert result.returncode == 2
        assert "see lungseg batch --help" in one_line(result)

    def test_pattern_selects_images(self, ward: Path, target: Path) -> None:
        result = run("batch", f"{ward}/**/*ö*.png", target)
        assert result.returncode == 0, result.stderr
        assert set(output_times(target)) == {"ward a/ö +.png.mask.png"}
