"""The command line: one image, and what it says of itself. Folders are in test_batch.py."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from films import encode, png, read_mask
from PIL import Image
from processes import command, one_line, only_line, run, smaller, wait_for

from app.main import app
from lungseg.cli.main import main
from lungseg.encode.formats import FORMATS


class TestSegment:
    def test_the_mask_is_named_after_the_whole_film(self, tmp_path: Path, rg1: bytes) -> None:
        film = tmp_path / "film.dcm"
        film.write_bytes(rg1)
        done = run("segment", film)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["film.dcm", "film.dcm.mask.png"]
        lines = done.stderr.decode().splitlines()
        assert lines[0].startswith("film: 1841 x 1955 pixels; lungs cover 3")
        assert lines[1].startswith("verdict: ")
        assert lines[-1] == f"mask: {film}.mask.png"

    def test_json_has_standard_output_for_itself(self, rg1_png: bytes) -> None:
        done = run("segment", "-", "--format", "json", "-o", "-", data=rg1_png)
        document = json.loads(done.stdout)
        assert f"verdict: {document['verdict']['decision']}" in done.stderr.decode()
        assert document["film"]["width"] == 1841

    @pytest.mark.parametrize("name", FORMATS)
    def test_every_format_is_the_one_of_http(
        self, name: str, tmp_path: Path, rg1: bytes, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        film = tmp_path / "film"
        film.write_bytes(rg1 if name == "dicom-seg" else smaller(rg1_png))
        assert main(["segment", str(film), "--format", name]) == 0
        assert f"{name}: {film}{FORMATS[name].suffix}" in capsys.readouterr().err
        written = (tmp_path / f"film{FORMATS[name].suffix}").read_bytes()
        answer = TestClient(app).post(f"/v1/segment?format={name}", content=film.read_bytes()).content
        if name in ("json", "preview", "all", "dicom-seg"):  # they hold times
            assert written[:20] == answer[:20]
        else:
            assert written == answer

    def test_choices_reach_the_pipeline(
        self, tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        film = tmp_path / "film.png"
        film.write_bytes(smaller(rg1_png))

        def document(*choices: str) -> dict[str, Any]:
            assert main(["segment", str(film), "--format", "json", *choices]) == 0
            capsys.readouterr()
            return dict(json.loads((tmp_path / "film.png.json").read_text()))

        areas = [document("--threshold", each)["lungs"]["share"] for each in ("0.05", "0.5", "0.95")]
        assert areas == sorted(areas, reverse=True)
        assert len(set(areas)) == 3
        assert document("--no-clean", "--no-upright")["threshold"] == 0.5

    def test_overlay_shows_the_film_with_its_lungs_tinted(
        self, tmp_path: Path, rg1: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "film").write_bytes(rg1)
        mask, look = tmp_path / "m.png", tmp_path / "o.png"
        assert main(["segment", str(tmp_path / "film"), "-o", str(mask), "--overlay", str(look)]) == 0
        lungs = read_mask(mask.read_bytes())
        picture = np.asarray(Image.open(look)).astype(int)
        assert picture.shape == (*lungs.shape, 3)
        coloured = abs(picture - picture.mean(2, keepdims=True)).max(2) > 5
        np.testing.assert_array_equal(coloured, lungs)
        assert str(look) in capsys.readouterr().err

    def test_a_verdict_changes_the_exit_code_only_if_strict(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        film = tmp_path / "ramp.png"
        film.write_bytes(png(np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)))
        assert main(["segment", str(film)]) == 0
        said = capsys.readouterr().err
        assert "verdict: reject" in said
        assert "warning: do not rely on this mask" in said
        mask = tmp_path / "ramp.png.mask.png"
        assert mask.exists()
        mask.unlink()
        assert main(["segment", str(film), "--strict"]) == 3
        assert mask.exists()

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
        self, tmp_path: Path, rg1_png: bytes, film: bytes | None, code: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "film.png"
        path.write_bytes(rg1_png[: len(rg1_png) // 2] if film is None else film)
        assert main(["segment", str(path)]) == 2
        assert code in only_line(capsys)
        assert list(tmp_path.iterdir()) == [path]

    def test_other_failures_are_one_line_too(
        self, tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        film, missing = tmp_path / "film.png", tmp_path / "no.png"
        film.write_bytes(rg1_png)
        for arguments, code, text in (
            ((missing,), 2, "unreadable"),
            ((film, "-o", film), 2, "overwrite"),
            ((film, "-o", tmp_path / "no" / "mask.png"), 2, "unwritable: The folder of the output does not exist"),
            ((film, "-o", tmp_path), 2, "unwritable: The output is a folder"),
            ((film, "-o", "/dev/full"), 2, "unwritable: The output cannot be written (No space left on device)"),
            ((film, "--format", "dicom-seg"), 2, "needs-dicom"),
            ((film, "-o", tmp_path / "m.png", "--overlay", tmp_path / "m.png"), 2, "overwrite"),
            ((film, "-o", tmp_path / "m.png", "--overlay", "-"), 2, "standard output"),
        ):
            assert main(["segment", *map(str, arguments)]) == code
            assert text in only_line(capsys)
        assert list(tmp_path.iterdir()) == [film]
        assert film.read_bytes() == rg1_png
        no_model = run("segment", film, LUNG_MODEL=str(missing))
        assert (no_model.returncode, "model" in one_line(no_model)) == (1, True)

    @pytest.mark.parametrize(
        "choice", [("--threshold", "1"), ("--threshold", "nan"), ("--format", "jpeg"), ("--shout",)]
    )
    def test_a_wrong_command_line_is_one_line(
        self, choice: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as end:
            main(["segment", "film.png", *choice])
        assert end.value.code == 2
        assert "--help" in only_line(capsys)

    def test_links_are_followed_and_pipes_written_to(
        self, tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "film").write_bytes(rg1_png)
        (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
        assert main(["segment", str(tmp_path / "film"), "-o", str(tmp_path / "link.png")]) == 0
        assert (tmp_path / "link.png").is_symlink()
        mask = (tmp_path / "real.png").read_bytes()
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
            assert main(["segment", str(tmp_path / "film"), "-o", str(tmp_path / "pipe")]) == 0
            assert reader.communicate(timeout=30)[0] == mask

    def test_output_that_cannot_be_written_is_known_before_the_work(
        self, tmp_path: Path, rg1_png: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        film, loop = tmp_path / "film.png", tmp_path / "loop"
        film.write_bytes(rg1_png)
        loop.symlink_to("loop")
        (tmp_path / "old.png").write_bytes(b"an earlier mask, which is replaced, and not written into")
        monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
        monkeypatch.setattr("lungseg.cli.segment.segment", lambda *_: pytest.fail("it was too early"))
        for output, text in (
            (tmp_path / "new.png", "unwritable: The folder of the output is read-only, or closed to you."),
            (tmp_path / "old.png", "unwritable: The folder of the output is read-only, or closed to you."),
            (loop / "mask.png", "unwritable: The "),
            (tmp_path / ("x" * 300), "unwritable: The output cannot be written (File name too long)."),
        ):
            assert main(["segment", str(film), "-o", str(output)]) == 2
            assert text in only_line(capsys)

    @pytest.mark.parametrize("seconds", [0.06, 0.1, 0.14, 0.18, 0.22, 0.4, 0.8])
    def test_ctrl_c_is_one_line_from_the_first_moment_on(self, seconds: float, tmp_path: Path, rg1: bytes) -> None:
        (tmp_path / "film.dcm").write_bytes(rg1)
        with subprocess.Popen(command("segment", tmp_path / "film.dcm"), stderr=subprocess.PIPE) as process:
            wait_for(lambda: b"-m" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        assert b"Traceback" not in said
        assert process.returncode in (130, 0, -signal.SIGINT)  # before Python runs this program, the signal ends it
        if process.returncode == 130:
            assert said == b"error: interrupted\n"

    def test_closed_streams_are_one_line(self, rg1_png: bytes) -> None:
        for redirect, code in (("<&-", 2), (">&-", 2), ("| true", 1)):
            shell = f"{sys.executable} -m lungseg segment - -o - {redirect}; exit ${{PIPESTATUS[0]}}"
            done = subprocess.run(["bash", "-c", shell], input=rg1_png, capture_output=True, check=False)
            if redirect == "| true" and done.returncode == 0:
                continue  # the mask fitted into the pipe before its reader left
            assert done.returncode == code, done.stderr
            one_line(done)

    def test_a_terminal_gets_text_alone(self, rg1_png: bytes) -> None:
        for form, code in (("mask", 2), ("json", 0)):
            ours, theirs = pty.openpty()
            done = subprocess.run(
                command("segment", "-", "--format", form),
                input=rg1_png,
                stdout=theirs,
                stderr=subprocess.PIPE,
                check=False,
            )
            os.close(theirs)
            assert done.returncode == code
            if form == "mask":
                assert "terminal" in one_line(done)
            else:
                assert json.loads(os.read(ours, 100_000))["film"]["width"] == 1841
            os.close(ours)

    def test_http_and_command_line_give_identical_bytes(self, rg1_png: bytes) -> None:
        film = encode(Image.open(io.BytesIO(rg1_png)), "JPEG")
        assert run("segment", "-", data=film).stdout == TestClient(app).post("/v1/segment", content=film).content


class TestServe:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_it_serves_until_it_is_told_to_end(self, workers: int, rg1_png: bytes) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with subprocess.Popen(
            command("serve", "--port", port, "--workers", workers), stderr=subprocess.PIPE, start_new_session=True
        ) as server:
            try:
                address = f"http://127.0.0.1:{port}"
                wait_for(lambda: answers(f"{address}/health"))
                film = urllib.request.Request(f"{address}/v1/segment", smaller(rg1_png))
                with urllib.request.urlopen(film, timeout=60) as answer:
                    assert answer.read().startswith(b"\x89PNG")
                taken = run("serve", "--port", port)
                assert taken.returncode == 1
                assert b"Traceback" not in taken.stderr
                server.terminate()
                assert server.wait(60) in (0, -signal.SIGTERM)  # uvicorn ends in order, then by the signal itself
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGKILL)

    def test_uvicorn_has_nothing_of_a_request_to_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where the package websockets is installed, each request for one would be logged with its query."""
        asked: dict[str, Any] = {}
        monkeypatch.setattr("uvicorn.run", lambda _, **settings: asked.update(settings))
        monkeypatch.setattr(os, "environ", dict(os.environ))
        assert main(["serve"]) == 0
        assert (asked["access_log"], asked["ws"]) == (False, "none")


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except OSError:
        return False


class TestItself:
    @pytest.mark.parametrize("command", [[], ["segment"], ["batch"], ["serve"], ["info"], ["doctor"]])
    def test_help_teaches_by_examples(self, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        said = capsys.readouterr().out
        assert "usage: python -m lungseg" in said
        assert "examples:\n  python -m lungseg" in said
        assert max(map(len, said.splitlines())) <= 120

    def test_no_command_is_help(self) -> None:
        done = run()
        assert done.returncode == 0
        assert b"examples:" in done.stdout

    def test_info(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["writes"].keys() == FORMATS.keys()
        assert main(["info"]) == 0
        said = capsys.readouterr().out
        for fact in (facts["version"], facts["model"]["sha256"], facts["view_model"]["sha256"], "JPEG 2000"):
            assert fact in said

    def test_doctor_finds_this_installation_well(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = main(["doctor"])
        lines = capsys.readouterr().out.splitlines()
        assert code == 0, [line for line in lines if line.startswith("failed")]
        assert any(line.startswith("ok       DICOM JPEG-LS Lossless") for line in lines)
        assert all(line.startswith(("ok  ", "warning ")) for line in lines)

    def test_doctor_says_what_to_do(self, tmp_path: Path) -> None:
        done = run("doctor", "--json", LUNG_MODEL=str(tmp_path / "no.onnx"), LUNG_THREADS="none")
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert not found["ok"]
        failed = {check["name"]: check for check in found["checks"] if check["state"] == "failed"}
        assert {"model", "threads"} <= set(failed)
        assert all(check["remedy"] for check in failed.values())

    def test_a_missing_package_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "onnxruntime.py").write_text("raise ImportError(name='onnxruntime')")
        done = run("segment", "film.png", PYTHONPATH=str(tmp_path))
        assert done.returncode == 1
        assert one_line(done) == "error: onnxruntime cannot be imported; run: pip install -r lungseg/requirements.txt"


@pytest.mark.parametrize("program", ["lungseg.pipeline.segment", "serverless", "model_export.sweeps.timing"])
def test_nothing_is_kept_for_the_makers_of_onnxruntime(program: str, tmp_path: Path) -> None:
    """Its official builds collect events, and send them, unless they are told not to."""
    if program.startswith("model_export"):
        pytest.importorskip("torch")
    code = f"import {program}; from lungseg.model.lung import load_lung; load_lung()"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []
