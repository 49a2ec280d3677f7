"""`remote segment` with images that fit into one request: the same bytes as `segment`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import command, only_line, run
from remote_command import segment_locally
from services import Gateway, serving

from lungseg import limits
from lungseg.cli.main import main
from lungseg.encode.formats import FORMATS


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of the real service, without a gateway."""
    with serving() as address:
        yield address


class TestSegment:
    @pytest.mark.parametrize("name", FORMATS)
    def test_every_format_equals_that_of_segment(
        self, name: str, service: str, image: Path, large_image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = large_image if FORMATS[name].is_dicom else image
        assert main(["remote", "segment", str(source), "--url", service, "--format", name]) == 0
        printed = capsys.readouterr().err.splitlines()
        assert printed[0].startswith(f"image: {source.stat().st_size:,} bytes, sent in one request")
        assert printed[1] == "verdict: accept"
        output = Path(f"{source}{FORMATS[name].suffix}")
        assert printed[-1] == f"{name}: {output}"
        assert main(["segment", str(source), "--format", name, "-o", f"{source}.own"]) == 0
        own = Path(f"{source}.own").read_bytes()
        if FORMATS[name].varies:
            assert output.read_bytes()[:20] == own[:20]
        else:
            assert output.read_bytes() == own

    def test_options_reach_the_service(self, service: str, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for choices in (
            ("--threshold", "0.07", "--no-clean", "--no-upright", "--format", "labels"),
            ("--opacity", "0.7", "--format", "overlay"),
        ):
            assert main(["remote", "segment", str(image), "--url", service, "-o", f"{image}.out", *choices]) == 0
            assert Path(f"{image}.out").read_bytes() == segment_locally(image, *choices)
        capsys.readouterr()

    def test_pipe_to_pipe(self, service: str, small: bytes, image: Path) -> None:
        done = run("remote", "segment", "-", "--url", service, data=small)
        assert done.returncode == 0, done.stderr
        assert done.stdout == segment_locally(image)

    def test_error_equals_that_of_segment(
        self, service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("this is no image")
        assert main(["segment", str(path)]) == 2
        own = only_line(capsys)
        assert main(["remote", "segment", str(path), "--url", service]) == 2
        assert only_line(capsys) == own
        assert list(tmp_path.iterdir()) == [path]

    def test_unacceptable_size_is_not_sent(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, gateway = tmp_path / "image", Gateway()
        with serving(gateway) as address:
            for make, code in (
                (path.touch, "empty-body"),
                (lambda: os.truncate(path, limits.MAX_BYTES + 1), "too-large"),
                (path.unlink, "unreadable"),
                (path.mkdir, "FILE is a folder"),
            ):
                make()
                assert main(["remote", "segment", str(path), "--url", address]) == 2
                assert code in only_line(capsys)
        assert not gateway.seen

    def test_strict_review_is_exit_code_3(
        self, service: str, image: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from PIL import Image

        with Image.open(image) as picture:
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(image)
        assert main(["remote", "segment", str(image), "--url", service]) == 0
        printed = capsys.readouterr().err
        assert "  mirrored: The image may be mirrored" in printed
        assert main(["remote", "segment", str(image), "--url", service, "--strict"]) == 3
        assert Path(f"{image}.mask.png").exists()

    def test_progress_bar_only_on_a_terminal(self, service: str, large_image: Path) -> None:
        arguments = command("remote", "segment", large_image, "--url", service, "-o", f"{large_image}.out")
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        with subprocess.Popen(arguments, stderr=theirs, stdout=subprocess.DEVNULL) as process:
            os.close(theirs)
            printed = b""
            try:
                while piece := os.read(ours, 10_000):
                    printed += piece
            except OSError:  # the other end is closed
                pass
            assert process.wait() == 0
        os.close(ours)
        assert b"upload: " in printed
        assert b"verdict: " in printed
        assert b"\r" not in subprocess.run(arguments, capture_output=True, check=True).stderr


def test_terminal_accepts_json_but_no_mask(service: str, image: Path) -> None:
    for form, code in (("mask", 2), ("json", 0)):
        ours, theirs = pty.openpty()
        arguments = command("remote", "segment", image, "--url", service, "--format", form, "-o", "-")
        done = subprocess.run(arguments, stdout=theirs, stderr=subprocess.PIPE, check=False)
        os.close(theirs)
        assert done.returncode == code
        if form == "json":
            assert json.loads(os.read(ours, 100_000))["verdict"]["decision"] == "accept"
        os.close(ours)


class TestHelp:
    @pytest.mark.parametrize("command", [["remote"], ["remote", "segment"], ["remote", "backfill"], ["doctor"]])
    def test_help_has_examples(
        self, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        printed = capsys.readouterr().out
        assert "examples:\n" in printed
        assert f"lungseg {' '.join(command)}" in printed
        assert "LUNG_API_KEY" in printed
        assert max(map(len, printed.splitlines())) <= 80

    def test_remote_without_command_prints_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["remote"]) == 0
        assert "examples:" in capsys.readouterr().out

    def test_other_commands_import_neither_http_nor_aws(self) -> None:
        late = "{'boto3', 'botocore', 'httpx2', 'tqdm', 'fastapi'}"
        code = f"import sys, lungseg.cli.main; print(*{late} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""
