"""The command line: one image, the server, help, info and doctor. Folders are in test_batch_command.py."""

from __future__ import annotations

import io
import json
import os
import pty
import re
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
from lungseg import segment
from lungseg.cli.common import walk_parsers
from lungseg.cli.main import build_parser, main
from lungseg.encode.formats import FORMATS


class TestSegment:
    def test_mask_is_named_after_the_whole_file_name(self, tmp_path: Path, rg1: bytes) -> None:
        image = tmp_path / "image.dcm"
        image.write_bytes(rg1)
        done = run("segment", image)
        assert done.returncode == 0, done.stderr
        assert done.stdout == b""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["image.dcm", "image.dcm.mask.png"]
        lines = done.stderr.decode().splitlines()
        assert lines[0].startswith("image: 1841 x 1955 pixels; lungs cover 3")
        assert lines[1].startswith("verdict: ")
        assert lines[-1] == f"mask: {image}.mask.png"

    def test_json_goes_to_standard_output_alone(self, rg1_png: bytes) -> None:
        done = run("segment", "-", "--format", "json", "-o", "-", data=rg1_png)
        assert done.stdout.endswith(b"}\n")
        document = json.loads(done.stdout)
        assert f"verdict: {document['verdict']['decision']}" in done.stderr.decode()
        assert document["image"]["width"] == 1841

    @pytest.mark.parametrize("name", FORMATS)
    def test_every_format_equals_the_http_response(
        self, name: str, tmp_path: Path, rg1: bytes, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image = tmp_path / "image"
        image.write_bytes(rg1 if FORMATS[name].is_dicom else smaller(rg1_png))
        assert main(["segment", str(image), "--format", name]) == 0
        assert f"{name}: {image}{FORMATS[name].suffix}" in capsys.readouterr().err
        written = (tmp_path / f"image{FORMATS[name].suffix}").read_bytes()
        answer = TestClient(app).post(f"/v1/segment?format={name}", content=image.read_bytes()).content
        if FORMATS[name].varies:
            assert written[:20] == answer[:20]
        else:
            assert written == answer

    def test_options_are_applied(self, tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        image = tmp_path / "image.png"
        image.write_bytes(smaller(rg1_png))

        def document(*choices: str) -> dict[str, Any]:
            assert main(["segment", str(image), "--format", "json", *choices]) == 0
            capsys.readouterr()
            return dict(json.loads((tmp_path / "image.png.json").read_text()))

        areas = [document("--threshold", each)["lungs"]["share"] for each in ("0.05", "0.5", "0.95")]
        assert areas == sorted(areas, reverse=True)
        assert len(set(areas)) == 3
        assert document("--no-clean", "--no-upright")["threshold"] == 0.5

    def test_overlay_tints_the_lungs(self, tmp_path: Path, rg1: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "image").write_bytes(rg1)
        mask, look = tmp_path / "m.png", tmp_path / "o.png"
        assert main(["segment", str(tmp_path / "image"), "-o", str(mask), "--overlay", str(look)]) == 0
        lungs = read_mask(mask.read_bytes())
        picture = np.asarray(Image.open(look).convert("RGB")).astype(int)
        assert picture.shape == (*lungs.shape, 3)
        redness = picture[..., 0] - picture[..., 2]  # negative is blue, positive is orange
        assert (abs(redness)[lungs] > 5).mean() > 0.98
        assert (redness[~lungs] == 0).mean() > 0.98
        assert redness[1200, 500] < 0 < redness[1200, 1450]
        assert str(look) in capsys.readouterr().err

    def test_opacity_is_that_of_the_library(
        self, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image, look = tmp_path / "image.png", tmp_path / "o.png"
        image.write_bytes(small)
        for choice in (("--overlay", look), ("--format", "overlay", "-o", look)):
            assert main(["segment", str(image), "--opacity", "0.6", *map(str, choice)]) == 0
            with Image.open(look) as picture:
                drawn = picture.convert("RGB").tobytes()
            assert drawn == segment(image).overlay(opacity=0.6).tobytes()
            look.unlink()
        capsys.readouterr()
        for wrong in ("1.5", "-0.1", "nan", "half"):
            with pytest.raises(SystemExit, match="2"):
                main(["segment", str(image), f"--opacity={wrong}"])
            assert "is not a number from 0 to 1; see" in capsys.readouterr().err

    def test_verdict_changes_the_exit_code_only_if_strict(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image = tmp_path / "ramp.png"
        image.write_bytes(png(np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)))
        assert main(["segment", str(image)]) == 0
        printed = capsys.readouterr().err
        assert "verdict: reject" in printed
        assert "warning: do not rely on this mask" in printed
        mask = tmp_path / "ramp.png.mask.png"
        assert mask.exists()
        mask.unlink()
        assert main(["segment", str(image), "--strict"]) == 3
        assert mask.exists()

    @pytest.mark.parametrize(
        ("image", "code"),
        [
            (b"this is a text file", "unsupported-format"),
            (b"", "empty-body"),
            (None, "damaged-film"),
            (png(np.zeros((1, 1), np.uint8)), "too-small"),
        ],
    )
    def test_refused_image_is_one_line_and_exit_code_2(
        self, tmp_path: Path, rg1_png: bytes, image: bytes | None, code: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "image.png"
        path.write_bytes(rg1_png[: len(rg1_png) // 2] if image is None else image)
        assert main(["segment", str(path)]) == 2
        assert code in only_line(capsys)
        assert list(tmp_path.iterdir()) == [path]

    def test_other_failures_are_one_line(
        self, tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image, missing = tmp_path / "image.png", tmp_path / "no.png"
        image.write_bytes(rg1_png)
        for arguments, code, text in (
            ((missing,), 2, f"unreadable: {missing} cannot be read (No such file or directory)."),
            ((image, "-o", image), 2, "overwrite"),
            (
                (image, "-o", tmp_path / "no" / "mask.png"),
                2,
                f"unwritable: The folder {tmp_path / 'no'} does not exist.",
            ),
            ((image, "-o", "/dev/full"), 2, "unwritable: The output cannot be written (No space left on device)"),
            ((image, "--format", "dicom-seg"), 2, "needs-dicom"),
            ((image, "-o", tmp_path / "m.png", "--overlay", tmp_path / "m.png"), 2, "overwrite"),
            ((image, "--overlay", tmp_path), 2, f"error: the output {tmp_path} is a folder; name a file"),
            ((image, "-o", tmp_path / "m.png", "--overlay", "-"), 2, "standard output"),
        ):
            assert main(["segment", *map(str, arguments)]) == code
            assert text in only_line(capsys)
        assert list(tmp_path.iterdir()) == [image]
        assert image.read_bytes() == rg1_png
        no_model = run("segment", image, LUNG_MODEL=str(missing))
        assert (no_model.returncode, "model" in one_line(no_model)) == (1, True)

    @pytest.mark.parametrize(
        "choice", [("--threshold", "1"), ("--threshold", "nan"), ("--format", "jpeg"), ("--shout",), ("--model", "foo")]
    )
    def test_invalid_command_line_is_one_line(
        self, choice: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit) as end:
            main(["segment", "image.png", *choice])
        assert end.value.code == 2
        assert "see lungseg segment --help" in only_line(capsys)

    def test_many_unrecognized_arguments_are_shortened(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            main(["batch", *(f"{number}.png" for number in range(9)), "out"])
        hint = "put a pattern in quotes, such as 'images/*.png'"
        expected = f"error: unrecognized arguments: 2.png 3.png 4.png and 5 more; {hint}; see lungseg batch --help"
        assert only_line(capsys) == expected
        for words in (["batch", "in", "out", "--shout"], ["info", "more"]):
            with pytest.raises(SystemExit):
                main(words)
            expected = f"error: unrecognized arguments: {words[-1]}; see lungseg {words[0]} --help"
            assert only_line(capsys) == expected

    def test_command_may_be_left_out(self, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "in").mkdir()
        image = tmp_path / "in" / "image.png"
        image.write_bytes(small)
        assert main([str(image)]) == 0
        mask = image.with_name("image.png.mask.png").read_bytes()
        assert main([str(tmp_path / "in"), str(tmp_path / "out")]) == 0
        assert (tmp_path / "out" / "image.png.mask.png").read_bytes() == mask
        done = run("-", data=small)
        assert (done.returncode, done.stdout) == (0, mask)
        capsys.readouterr()
        assert main(["no.png"]) == 2
        assert "no.png cannot be read" in only_line(capsys)
        for typo in ("segmnt", "--shout"):
            with pytest.raises(SystemExit):
                main([typo])
            assert "see lungseg --help" in only_line(capsys)

    def test_several_images_and_formats(self, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]) -> None:
        for name in ("a.png", "b.png"):
            (tmp_path / name).write_bytes(small)
        (tmp_path / "broken.png").write_bytes(small[:1000])
        images = [str(tmp_path / name) for name in ("a.png", "broken.png", "b.png", "no.png")]
        out = tmp_path / "new" / "out"
        assert main(["segment", *images, "--format", "mask", "--format", "json", "-o", f"{out}/"]) == 2
        printed = capsys.readouterr().err.splitlines()
        assert sorted(path.name for path in out.iterdir()) == [
            f"{name}.png{suffix}" for name in "ab" for suffix in (".json", ".mask.png")
        ]
        assert printed[0].startswith(f"image: {images[0]}, 307 x 326 pixels")
        (broken, missing) = [line for line in printed if line.startswith("error: ")]
        assert broken.startswith(f"error: {images[1]}: damaged-film: ")
        assert missing.startswith(f"error: {images[3]}: unreadable: ")
        assert main(["segment", images[0], images[2], "-o", str(out)]) == 0  # an existing folder needs no slash
        capsys.readouterr()
        done = run("segment", images[0], images[2], "--format", "json", "-o", "-")
        assert [json.loads(line)["image"]["width"] for line in done.stdout.splitlines()] == [307, 307]

    def test_format_that_fails_does_not_stop_the_others(
        self, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image = tmp_path / "a.png"
        image.write_bytes(small)
        assert main(["segment", str(image), "--format", "dicom-seg", "--format", "mask"]) == 2
        assert "error: dicom-seg: needs-dicom: " in capsys.readouterr().err
        assert (tmp_path / "a.png.mask.png").exists()

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            (["a.png", "b.png", "-o", "m.png"], "name a folder, such as -o masks/"),
            (["a.png", "--format", "mask", "--format", "json", "-o", "m.png"], "name a folder, such as -o masks/"),
            (["a.png", "-", "-o", "out/"], "- reads one image"),
            (["-", "-o", "out/"], "has no name"),
            (["a.png", "b.png", "-o", "-"], "only one output can go to standard output"),
            (["a.png", "--format", "mask", "--format", "json", "-o", "-"], "only one output can go to standard output"),
            (["a.png", "b.png", "--overlay", "o.png"], "use --format overlay"),
            (["a.png", "x/a.png", "-o", "."], "would overwrite"),
            (["a.png", "."], "one of the files is a folder"),
            (["a.png", "-o", "m.jpg"], "mask is written as .png, not .jpg"),
            (["a.png", "--format", "json", "-o", "m.png"], "json is written as .json, not .png"),
        ],
    )
    def test_contradicting_outputs_are_refused(
        self,
        options: list[str],
        text: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["segment", *options]) == 2
        assert text in only_line(capsys)
        assert list(tmp_path.iterdir()) == []

    def test_suffix_of_the_output_chooses_the_format(
        self, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image = tmp_path / "a.png"
        image.write_bytes(small)
        for name, form in (("m.png", "mask"), ("m.json", "json"), ("labels.png", "labels"), ("m", "mask")):
            assert main(["segment", str(image), "-o", str(tmp_path / name)]) == 0
            assert f"{form}: {tmp_path / name}" in capsys.readouterr().err
        assert json.loads((tmp_path / "m.json").read_text())["image"]["width"] == 307

    def test_model_by_name(self, small: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = [
            json.loads(run("segment", "-", "--format", "json", *model, data=small, **environment).stdout)["model"]
            for model, environment in (
                (("--model", "lung_unet_open"), {}),
                ((), {"LUNG_MODEL": "lung_unet_open"}),
                (("--model", "lung_unet_open"), {"LUNG_MODEL": "no_such"}),
            )
        ]
        assert [model["name"] for model in found] == ["lung-unet-open"] * 3
        for words in (["segment", "a.png"], ["batch", "in", "out"], ["serve"]):
            with pytest.raises(SystemExit):
                main([*words, "--model", "foo"])
            assert "no model named foo. Use lung_unet, lung_unet_open, or the path" in only_line(capsys)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.png").write_bytes(small)
        done = run("batch", tmp_path / "in", tmp_path / "out", "--format", "json", "--model", "lung_unet_open")
        assert done.returncode == 0, done.stderr
        assert json.loads((tmp_path / "out" / "a.png.json").read_text())["model"] == found[0]

    @pytest.mark.parametrize("command", [["segment"], ["remote", "segment", "--url", "http://127.0.0.1:1"]])
    def test_folder_is_refused(self, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*command, str(tmp_path)]) == 2
        assert "FILE is a folder" in only_line(capsys)

    def test_output_may_be_a_symlink_or_a_pipe(
        self, tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "image").write_bytes(rg1_png)
        (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
        assert main(["segment", str(tmp_path / "image"), "-o", str(tmp_path / "link.png")]) == 0
        assert (tmp_path / "link.png").is_symlink()
        mask = (tmp_path / "real.png").read_bytes()
        os.mkfifo(tmp_path / "pipe")
        with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
            assert main(["segment", str(tmp_path / "image"), "-o", str(tmp_path / "pipe")]) == 0
            assert reader.communicate(timeout=30)[0] == mask

    def test_unwritable_output_is_refused_before_the_work(
        self, tmp_path: Path, rg1_png: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        image, loop = tmp_path / "image.png", tmp_path / "loop"
        image.write_bytes(rg1_png)
        loop.symlink_to("loop")
        (tmp_path / "old.png").write_bytes(b"an earlier mask, which is replaced, not overwritten")
        monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
        monkeypatch.setattr("lungseg.cli.segment.segment", lambda *_: pytest.fail("it was segmented"))
        for output, text in (
            (tmp_path / "new.png", "unwritable: You may not write to the folder of the output."),
            (tmp_path / "old.png", "unwritable: You may not write to the folder of the output."),
            (loop / "mask.png", "unwritable: The "),
            (tmp_path / ("x" * 300), "unwritable: The output cannot be written (File name too long)."),
        ):
            assert main(["segment", str(image), "-o", str(output)]) == 2
            assert text in only_line(capsys)

    @pytest.mark.parametrize("seconds", [0.06, 0.1, 0.14, 0.18, 0.22, 0.4, 0.8])
    def test_ctrl_c_is_one_line_at_any_moment(self, seconds: float, tmp_path: Path, rg1: bytes) -> None:
        (tmp_path / "image.dcm").write_bytes(rg1)
        with subprocess.Popen(command("segment", tmp_path / "image.dcm"), stderr=subprocess.PIPE) as process:
            wait_for(lambda: b"-m" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)
            printed = process.communicate(timeout=60)[1]
        # On a busy machine, Python itself may still be starting; then the signal kills it, and it tells where.
        assert b"Traceback" not in printed or (process.returncode == -signal.SIGINT and b"lungseg/" not in printed)
        assert process.returncode in (130, 0, -signal.SIGINT)
        if process.returncode == 130:
            assert printed == b"error: interrupted\n"

    def test_closed_streams_are_one_line(self, rg1_png: bytes) -> None:
        for redirect, code in (("<&-", 2), (">&-", 2), ("| true", 1)):
            shell = f"{sys.executable} -m lungseg segment - -o - {redirect}; exit ${{PIPESTATUS[0]}}"
            done = subprocess.run(["bash", "-c", shell], input=rg1_png, capture_output=True, check=False)
            if redirect == "| true" and done.returncode == 0:
                continue  # the mask fit into the pipe before its reader ended
            assert done.returncode == code, done.stderr
            one_line(done)

    def test_binary_formats_are_not_printed_to_a_terminal(self, rg1_png: bytes) -> None:
        for name, code in (("mask", 2), ("json", 0)):
            ours, theirs = pty.openpty()
            done = subprocess.run(
                command("segment", "-", "--format", name),
                input=rg1_png,
                stdout=theirs,
                stderr=subprocess.PIPE,
                check=False,
            )
            os.close(theirs)
            assert done.returncode == code
            if name == "mask":
                assert "terminal" in one_line(done)
            else:
                assert json.loads(os.read(ours, 100_000))["image"]["width"] == 1841
            os.close(ours)

    def test_http_and_cli_return_identical_bytes(self, rg1_png: bytes) -> None:
        image = encode(Image.open(io.BytesIO(rg1_png)), "JPEG")
        assert run("segment", "-", data=image).stdout == TestClient(app).post("/v1/segment", content=image).content


class TestServe:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_server_runs_until_terminated(self, workers: int, rg1_png: bytes) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with subprocess.Popen(
            command("serve", "--port", port, "--workers", workers), stderr=subprocess.PIPE, start_new_session=True
        ) as server:
            try:
                address = f"http://127.0.0.1:{port}"
                assert server.stderr is not None
                assert server.stderr.readline() == f"serving on {address}/; press Ctrl-C to stop\n".encode()
                wait_for(lambda: answers(f"{address}/health"))
                image = urllib.request.Request(f"{address}/v1/segment", smaller(rg1_png))
                with urllib.request.urlopen(image, timeout=60) as answer:
                    assert answer.read().startswith(b"\x89PNG")
                taken = run("serve", "--port", port)
                assert taken.returncode == 1
                assert one_line(taken) == f"error: port {port} is in use; choose another one with --port"
                server.terminate()
                assert server.wait(60) in (0, -signal.SIGTERM)  # uvicorn shuts down, then ends by the signal
            finally:
                if server.poll() is None:
                    os.killpg(server.pid, signal.SIGKILL)

    def test_uvicorn_logs_no_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If the package websockets is installed, each request for one would be logged with its query string."""
        settings_used: dict[str, Any] = {}
        monkeypatch.setattr("uvicorn.run", lambda _, **settings: settings_used.update(settings))
        monkeypatch.setattr("lungseg.cli.serve._is_port_taken", lambda *_: False)
        monkeypatch.setattr(os, "environ", dict(os.environ))
        assert main(["serve"]) == 0
        assert (settings_used["access_log"], settings_used["ws"]) == (False, "none")


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=10):
            return True
    except OSError:
        return False


class TestItself:
    def test_every_command_is_in_the_help(self) -> None:
        names = [parser.prog for parser in walk_parsers(build_parser())]
        assert len(names) == len(set(names)) > 9
        printed = build_parser().format_help()
        assert all(re.search(rf"^    {name.split()[1]}\b", printed, re.MULTILINE) for name in names[1:])

    @pytest.mark.parametrize("command", [parser.prog.split()[1:] for parser in walk_parsers(build_parser())])
    def test_help_has_examples_and_options_and_fits_80_columns(
        self, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        printed = capsys.readouterr().out
        assert printed.startswith(" ".join(["usage: lungseg", *command]))
        assert re.search(r"examples:\n  (export|lungseg) ", printed)
        assert "exit codes:\n  0    " in printed
        assert max(map(len, printed.splitlines())) <= 80
        (parser,) = [each for each in walk_parsers(build_parser()) if each.prog.split()[1:] == command]
        for action in parser._actions:
            assert action.help or action.metavar == "COMMAND", action
            for option in action.option_strings:
                assert re.search(rf"^  .*{option}\b", printed, re.MULTILINE), option

    def test_no_command_prints_help(self) -> None:
        done = run()
        assert done.returncode == 0
        assert b"examples:" in done.stdout

    def test_info(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["info", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["writes"].keys() == FORMATS.keys()
        assert main(["info"]) == 0
        printed = capsys.readouterr().out
        for fact in (facts["version"], facts["model"]["sha256"], facts["view_model"]["sha256"], "JPEG 2000"):
            assert fact in printed

    def test_doctor_passes_here(self, capsys: pytest.CaptureFixture[str]) -> None:
        code = main(["doctor"])
        lines = capsys.readouterr().out.splitlines()
        assert code == 0, [line for line in lines if line.startswith("failed")]
        assert any(line.startswith("ok       DICOM JPEG-LS Lossless") for line in lines)
        assert all(line.startswith(("ok  ", "info  ", "warning ")) for line in lines[:-1])
        assert lines[-1].startswith(f"{len(lines) - 1} checks: 0 failed, ")

    def test_doctor_prints_remedies(self, tmp_path: Path) -> None:
        done = run("doctor", "--json", LUNG_MODEL=str(tmp_path / "no.onnx"), LUNG_THREADS="none")
        assert done.returncode == 1
        found = json.loads(done.stdout)
        assert not found["ok"]
        failed = {check["name"]: check for check in found["checks"] if check["state"] == "failed"}
        assert {"model", "threads"} <= set(failed)
        assert all(check["remedy"] for check in failed.values())

    @pytest.mark.parametrize(
        ("program", "text"),
        [
            (
                "raise ModuleNotFoundError('No module named onnxruntime', name='onnxruntime')",
                "onnxruntime cannot be imported",
            ),
            ("raise ImportError(name='onnxruntime')", "onnxruntime cannot be imported"),
            ("from lungseg.errors import Gone", "lungseg.errors cannot be imported (cannot import name 'Gone' from "),
            ("raise ImportError('no libgomp.so.1\\nlong advice')", "a module cannot be imported (no libgomp.so.1)"),
        ],
    )
    def test_failed_import_is_one_line_with_its_cause(self, program: str, text: str, tmp_path: Path) -> None:
        (tmp_path / "onnxruntime.py").write_text(program)
        done = run("segment", "image.png", PYTHONPATH=str(tmp_path))
        assert done.returncode == 1
        line = one_line(done)
        assert line.startswith(f"error: {text}")
        assert line.endswith("; run: pip install --force-reinstall lungseg")
        assert "long advice" not in line


@pytest.mark.parametrize("program", ["lungseg.pipeline.segment", "serverless", "model_export.sweeps.timing"])
def test_onnxruntime_collects_no_telemetry(program: str, tmp_path: Path) -> None:
    """Its official builds collect and send events unless that is disabled."""
    if program.startswith("model_export"):
        pytest.importorskip("torch")
    code = f"import {program}; from lungseg.model.lung import load_lung; load_lung()"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=environment | {"HOME": str(tmp_path)}, check=True, timeout=120)
    assert list(tmp_path.rglob("*")) == []
