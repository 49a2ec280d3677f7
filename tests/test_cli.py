"""The command line, as a person runs it: in a process of its own."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from films import encode, png, read_mask
from PIL import Image

from app.api import app


def run(*arguments: object, data: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        input=data,
        capture_output=True,
        env=os.environ | environment,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0]


class TestSegment:
    def test_the_mask_is_named_after_the_whole_film(self, tmp_path: Path, rg1: bytes) -> None:
        film = tmp_path / "film.dcm"
        film.write_bytes(rg1)
        done = run("segment", film)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["film.dcm", "film.dcm.mask.png"]

    def test_http_and_command_line_give_identical_bytes(self, tmp_path: Path, rg1: bytes, rg1_png: bytes) -> None:
        client = TestClient(app)
        for number, film in enumerate((rg1, rg1_png, encode(Image.open(io.BytesIO(rg1_png)), "JPEG"))):
            path = tmp_path / f"{number}"
            path.write_bytes(film)
            assert run("segment", path, "-o", tmp_path / "mask.png").returncode == 0
            answer = client.post("/v1/segment", content=film)
            assert answer.status_code == 200
            assert (tmp_path / "mask.png").read_bytes() == answer.content
            assert run("segment", "-", data=film).stdout == answer.content

    def test_overlay_shows_the_film_with_its_lungs_tinted(self, tmp_path: Path, rg1: bytes) -> None:
        done = run("segment", "-", "-o", tmp_path / "m.png", "--overlay", tmp_path / "o.png", data=rg1)
        assert done.returncode == 0, done.stderr
        mask = read_mask((tmp_path / "m.png").read_bytes())
        picture = np.asarray(Image.open(tmp_path / "o.png")).astype(int)
        assert picture.shape == (*mask.shape, 3)
        coloured = abs(picture - picture.mean(2, keepdims=True)).max(2) > 5
        np.testing.assert_array_equal(coloured, mask)
        assert str(tmp_path / "o.png") in done.stderr.decode()
        assert "no lung was found" not in done.stderr.decode()

    @pytest.mark.parametrize(
        ("film", "code"),
        [
            (b"this is a text file", "unsupported-format"),
            (b"", "empty-body"),
            (None, "damaged-film"),
            (png(np.zeros((1, 1), np.uint8)), "too-small"),
        ],
    )
    def test_a_refused_film_is_one_line_and_exit_code_2(
        self, tmp_path: Path, rg1_png: bytes, film: bytes | None, code: str
    ) -> None:
        path = tmp_path / "film.png"
        path.write_bytes(rg1_png[: len(rg1_png) // 2] if film is None else film)
        done = run("segment", path)
        assert done.returncode == 2
        assert code in one_line(done)
        assert list(tmp_path.iterdir()) == [path]

    def test_other_failures_are_one_line_too(self, tmp_path: Path, rg1_png: bytes) -> None:
        film = tmp_path / "film.png"
        film.write_bytes(rg1_png)
        missing = run("segment", tmp_path / "no.png")
        assert (missing.returncode, "unreadable" in one_line(missing)) == (2, True)
        itself = run("segment", film, "-o", film)
        assert (itself.returncode, "overwrite" in one_line(itself)) == (2, True)
        assert film.read_bytes() == rg1_png
        nowhere = run("segment", film, "-o", tmp_path / "no" / "mask.png")
        assert (nowhere.returncode, "No such file" in one_line(nowhere)) == (1, True)
        no_model = run("segment", film, LUNG_MODEL=str(tmp_path / "no.onnx"))
        assert (no_model.returncode, "model" in one_line(no_model)) == (1, True)

    def test_outputs_do_not_overwrite_each_other(self, tmp_path: Path, rg1_png: bytes) -> None:
        for outputs in (("-o", "m.png", "--overlay", "m.png"), ("-o", "m.png", "--overlay", "-")):
            done = run("segment", "-", *outputs, data=rg1_png)
            assert done.returncode == 2
            one_line(done)
        assert not list(tmp_path.iterdir())

    def test_links_are_followed_and_pipes_written_to(self, tmp_path: Path, rg1_png: bytes) -> None:
        (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
        assert run("segment", "-", "-o", tmp_path / "link.png", data=rg1_png).returncode == 0
        assert (tmp_path / "link.png").is_symlink()
        mask = (tmp_path / "real.png").read_bytes()
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
            assert run("segment", "-", "-o", tmp_path / "pipe", data=rg1_png).returncode == 0
            assert reader.communicate(timeout=30)[0] == mask

    def test_closed_streams_are_one_line(self, rg1_png: bytes) -> None:
        for redirect, code in (("<&-", 2), (">&-", 2), ("| true", 1)):
            shell = f"{sys.executable} -m app segment - -o - {redirect}; exit ${{PIPESTATUS[0]}}"
            done = subprocess.run(["bash", "-c", shell], input=rg1_png, capture_output=True, check=False)
            if redirect == "| true" and done.returncode == 0:
                continue  # the mask fitted into the pipe before its reader left
            assert done.returncode == code, done.stderr
            one_line(done)

    def test_a_film_without_lungs_says_so(self, tmp_path: Path) -> None:
        ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)
        done = run("segment", "-", "-o", tmp_path / "m.png", data=png(ramp))
        assert done.returncode == 0
        assert "no lung was found" in done.stderr.decode()
        assert not read_mask((tmp_path / "m.png").read_bytes()).any()


class TestBatch:
    @pytest.fixture
    def folder(self, tmp_path: Path, rg1: bytes, rg1_png: bytes) -> Path:
        source = tmp_path / "in"
        (source / "ward a").mkdir(parents=True)
        (source / "film.dcm").write_bytes(rg1)
        (source / "film.png").write_bytes(rg1_png)
        (source / "ward a" / "ö +.png").write_bytes(rg1_png)
        (source / "cut.png").write_bytes(rg1_png[:5000])
        (source / "note.txt").write_bytes(b"no film")
        (source / ".hidden").write_bytes(b"no film either")
        return source

    @pytest.mark.parametrize("workers", [1, 2])
    def test_every_good_film_gets_its_mask(self, folder: Path, tmp_path: Path, workers: int, rg1: bytes) -> None:
        target = tmp_path / "out"
        done = run("batch", folder, target, "--workers", workers)
        assert done.returncode == 1
        assert {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()} == {
            "film.dcm.mask.png",
            "film.png.mask.png",
            "ward a/ö +.png.mask.png",
            "cut.png.error.json",
            "note.txt.error.json",
        }
        said = done.stderr.decode()
        assert "3 of 5 films segmented, 2 failed" in said
        assert "failed: cut.png: damaged-film" in said
        assert "5/5" in said
        problem = json.loads((target / "note.txt.error.json").read_text())
        assert problem["code"] == "unsupported-format"
        assert "note" not in json.dumps(problem)
        assert (target / "film.dcm.mask.png").read_bytes() == run("segment", "-", data=rg1).stdout

    def test_a_second_run_replaces_what_has_changed(self, folder: Path, tmp_path: Path, rg1_png: bytes) -> None:
        target = tmp_path / "out"
        run("batch", folder, target)
        (folder / "cut.png").write_bytes(rg1_png)
        (folder / "film.png").write_bytes(b"damaged meanwhile")
        (folder / "note.txt").unlink()
        assert run("batch", folder, target).returncode == 1
        assert (target / "cut.png.mask.png").exists()
        assert not (target / "cut.png.error.json").exists()
        assert not (target / "film.png.mask.png").exists()

    def test_all_good_is_exit_code_0(self, folder: Path, tmp_path: Path) -> None:
        done = run("batch", folder / "ward a", tmp_path / "out")
        assert done.returncode == 0
        assert "1 of 1 films segmented, 0 failed" in done.stderr.decode()

    @pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")
    def test_a_killed_worker_loses_no_film(self, tmp_path: Path, rg1_png: bytes) -> None:
        source, target = tmp_path / "in", tmp_path / "out"
        source.mkdir()
        for number in range(16):
            (source / f"{number}.png").write_bytes(rg1_png)
        with subprocess.Popen(
            [sys.executable, "-m", "app", "batch", str(source), str(target), "--workers", "2"], stderr=subprocess.PIPE
        ) as batch:
            while not list(target.rglob("*.mask.png")):
                assert batch.poll() is None
                time.sleep(0.02)
            os.kill(workers_of(batch.pid)[-1], signal.SIGKILL)
            _, said = batch.communicate(timeout=120)
        assert batch.returncode == 0, said
        assert len(list(target.glob("*.mask.png"))) == 16

    def test_one_films_output_in_the_way_stops_no_other(self, tmp_path: Path, rg1_png: bytes) -> None:
        source, target = tmp_path / "in", tmp_path / "out"
        (source / "ward").mkdir(parents=True)
        long = "n" * 245 + ".png"  # with .mask.png longer than a name may be
        for name in ("1.png", "2.png", "ward/3.png", long):
            (source / name).write_bytes(rg1_png)
        (source / "gone.png").symlink_to(tmp_path / "nowhere")
        (target / "1.png.mask.png").mkdir(parents=True)
        (target / "ward").write_bytes(b"a file where a folder must go")
        done = run("batch", source, target, "--workers", "2")
        said = done.stderr.decode()
        assert done.returncode == 1
        assert "1 of 5 films segmented, 4 failed" in said
        assert (target / "2.png.mask.png").exists()
        for line in ("1.png: unwritable", "ward/3.png: unwritable", "n.png: unwritable", "gone.png: unreadable"):
            assert line in said

    @pytest.mark.parametrize("target", ["in", "in/masks", "."])
    def test_masks_are_never_taken_for_films(self, folder: Path, target: str) -> None:
        done = run("batch", folder, folder.parent / target if target != "." else folder / ".")
        assert done.returncode == 2
        assert "OUT_DIR lies in IN_DIR" in one_line(done)

    def test_wrong_use_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for arguments in (("nowhere", "out"), ("empty", "out"), ("empty", "out", "--workers", "0")):
            done = run("batch", tmp_path / arguments[0], tmp_path / "out", *arguments[2:])
            assert done.returncode == 2
            one_line(done)


def workers_of(pid: int) -> list[int]:
    """The processes below ``pid`` that segment films (spawn's helper for semaphores is another child)."""
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


@pytest.mark.parametrize("command", [[], ["segment"], ["batch"], ["serve"]])
def test_help_tells_how(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.returncode == 0
    assert b"usage: python -m app" in done.stdout
