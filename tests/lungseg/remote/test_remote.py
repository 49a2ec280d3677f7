"""`remote segment` against the real service over HTTP: the same bytes as here, whatever lies between. Access and
failures of the line are in test_remote_line.py.
"""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Buckets
from processes import command, run
from services import Answer, Gateway, both, keyed, line_to, problem, serving, worker

from lungseg import limits
from lungseg.cli.main import main
from lungseg.encode.formats import FORMATS
from lungseg.remote.image_source import ImageSource
from lungseg.remote.retry import RetryPolicy
from lungseg.remote.segment import MAX_DIRECT_BYTES
from lungseg.remote.service import ServiceClient

KEY = "a-key-of-the-tests"
TIMED = ("json", "preview", "all", "dicom-seg")
"""Forms that hold times."""


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    """The address of the real service, behind nothing."""
    with serving() as address:
        yield address


@pytest.fixture
def film(tmp_path: Path, small: bytes) -> Path:
    """An image that is soon done."""
    path = tmp_path / "a film.png"
    path.write_bytes(small)
    return path


@pytest.fixture
def large(tmp_path: Path, rg1: bytes) -> Path:
    """RG1 as it is, 7.2 MB: too large for one request."""
    path = tmp_path / "patient name.dcm"
    path.write_bytes(rg1)
    assert path.stat().st_size > MAX_DIRECT_BYTES
    return path


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a failure."""
    said = capsys.readouterr()
    assert not said.out
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line


def here(film: Path, *choices: str) -> bytes:
    """What `segment` gives."""
    return run("segment", film, "-o", "-", *choices).stdout


class TestDirectly:
    @pytest.mark.parametrize("name", FORMATS)
    def test_every_form_is_the_one_of_this_machine(
        self, name: str, service: str, film: Path, large: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        source = large if name == "dicom-seg" else film
        assert main(["remote", "segment", str(source), "--url", service, "--format", name]) == 0
        said = capsys.readouterr().err.splitlines()
        assert said[0].startswith(f"image: {source.stat().st_size:,} bytes, sent in one request")
        assert said[1] == "verdict: accept"
        output = Path(f"{source}{FORMATS[name].suffix}")
        assert said[-1] == f"{name}: {output}"
        assert main(["segment", str(source), "--format", name, "-o", f"{source}.own"]) == 0
        own = Path(f"{source}.own").read_bytes()
        if name in TIMED:
            assert output.read_bytes()[:20] == own[:20]
        else:
            assert output.read_bytes() == own

    def test_choices_reach_the_service(self, service: str, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
        choices = ("--threshold", "0.07", "--no-clean", "--no-upright", "--format", "labels")
        assert main(["remote", "segment", str(film), "--url", service, "-o", f"{film}.out", *choices]) == 0
        assert Path(f"{film}.out").read_bytes() == here(film, *choices)
        capsys.readouterr()

    def test_from_a_pipe_to_a_pipe(self, service: str, small: bytes, film: Path) -> None:
        done = run("remote", "segment", "-", "--url", service, data=small)
        assert done.returncode == 0, done.stderr
        assert done.stdout == here(film)

    def test_a_refusal_is_the_line_of_this_machine(
        self, service: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("this is no image")
        assert main(["segment", str(path)]) == 2
        own = last_line(capsys)
        assert main(["remote", "segment", str(path), "--url", service]) == 2
        assert last_line(capsys) == own
        assert list(tmp_path.iterdir()) == [path]

    def test_what_is_no_film_by_its_size_is_not_sent(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        path, gateway = tmp_path / "film", Gateway()
        with serving(gateway) as address:
            for make, code in (
                (path.touch, "empty-body"),
                (lambda: os.truncate(path, limits.MAX_BYTES + 1), "too-large"),
                (path.unlink, "unreadable"),
                (path.mkdir, "FILE is a folder"),
            ):
                make()
                assert main(["remote", "segment", str(path), "--url", address]) == 2
                assert code in last_line(capsys)
        assert not gateway.seen

    def test_a_doubtful_verdict_is_exit_code_3_if_strict(
        self, service: str, film: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from PIL import Image

        with Image.open(film) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(film)
        assert main(["remote", "segment", str(film), "--url", service]) == 0
        said = capsys.readouterr().err
        assert "  mirrored: The image may be mirrored" in said
        assert main(["remote", "segment", str(film), "--url", service, "--strict"]) == 3
        assert Path(f"{film}.mask.png").exists()

    def test_bars_are_for_terminals_alone(self, service: str, large: Path) -> None:
        arguments = command("remote", "segment", large, "--url", service, "-o", f"{large}.out")
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        with subprocess.Popen(arguments, stderr=theirs, stdout=subprocess.DEVNULL) as process:
            os.close(theirs)
            said = b""
            try:
                while piece := os.read(ours, 10_000):
                    said += piece
            except OSError:  # its other end is closed
                pass
            assert process.wait() == 0
        os.close(ours)
        assert b"upload: " in said
        assert b"verdict: " in said
        assert b"\r" not in subprocess.run(arguments, capture_output=True, check=True).stderr


class TestJobs:
    """An image too large for a request, with the real routes, buckets of a local S3 server, and the real function."""

    @pytest.mark.parametrize("choices", [(), ("--format", "labels", "--threshold", "0.2", "--no-clean")])
    def test_a_large_film_gives_the_bytes_of_this_machine(
        self, choices: tuple[str, ...], buckets: Buckets, large: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = f"{large}.out"
        with serving(Gateway(worker(buckets, looks=2))) as address:
            assert main(["remote", "segment", str(large), "--url", address, "-o", output, *choices]) == 0
        said = capsys.readouterr().err
        assert re.search(r"sent as job [0-9a-f]{32} \(", said)
        assert "verdict: accept" in said
        assert Path(output).read_bytes() == here(large, *choices)
        listed = buckets.client.list_objects_v2(Bucket=buckets.films)["Contents"]
        assert [re.sub("[0-9a-f]{32}", "ID", each["Key"]) for each in listed] == ["jobs/ID/film"]
        stored = buckets.client.get_object(Bucket=buckets.films, Key=listed[0]["Key"])["Body"].read()
        assert hashlib.sha256(stored).digest() == hashlib.sha256(large.read_bytes()).digest()

    def test_credentials_and_names_stay_out_of_the_buckets_requests(
        self,
        buckets: Buckets,
        s3: str,
        large: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        from app.buckets.s3 import get_store

        gateway = Gateway(both(keyed(KEY), worker(buckets)))
        monkeypatch.setenv("LUNG_API_KEY", KEY)
        with line_to(s3) as line, serving(gateway) as address:
            # What the service presigns leads over the line from now on.
            monkeypatch.setenv("AWS_ENDPOINT_URL", line.address)
            get_store.cache_clear()
            assert main(["remote", "segment", str(large), "--url", address]) == 0
        heard = bytes(line.heard)
        assert heard.count(large.read_bytes()) == 1
        assert KEY.encode() not in heard
        assert b"patient" not in heard
        assert all(headers.get("x-api-key") == KEY for _, _, headers in gateway.seen)
        assert KEY not in capsys.readouterr().err

    def test_an_upload_that_breaks_off_is_sent_again(self, buckets: Buckets, s3: str, large: Path) -> None:
        form = buckets.client.generate_presigned_post(buckets.films, "film", ExpiresIn=60)
        with (
            line_to(s3, breaks=2) as line,
            ServiceClient(line.address, retries=RetryPolicy(first_pause=0.01)) as service,
        ):
            service.upload_image(f"{line.address}/{buckets.films}", form["fields"], ImageSource.of(large))
        stored = buckets.client.get_object(Bucket=buckets.films, Key="film")["Body"].read()
        assert stored == large.read_bytes()

    def test_memory_does_not_grow_with_the_film(self, tmp_path: Path) -> None:
        path, most = tmp_path / "film", []
        ticket: dict[str, Any] = {"id": "1" * 32, "upload": {"fields": {"key": "jobs/1/film"}}}

        def hook(method: str, path: str, _: dict[str, str]) -> Answer:
            if method == "GET":
                return Answer(200, b'{"status": "expired"}')
            return Answer(201, json.dumps(ticket).encode()) if path == "/v1/jobs" else Answer(204, b"")

        with serving(Gateway(hook)) as address:
            ticket["upload"]["url"] = f"{address}/bucket"
            for size in (MAX_DIRECT_BYTES + 1, limits.MAX_BYTES):
                path.touch()
                os.truncate(path, size)
                program = (
                    "import sys; from lungseg.cli.main import main; main(sys.argv[1:]);"
                    "print(open('/proc/self/status').read())"
                )
                line = [sys.executable, "-c", program, "remote", "segment", str(path), "--url", address]
                done = subprocess.run(line, capture_output=True, text=True, check=True)
                assert "job-unfinished" in done.stderr  # the job is given up, once its image has been sent
                most.append(int(done.stdout.partition("VmHWM:")[2].split()[0]))
        assert most[1] - most[0] < 10_000  # kilobytes, for 76 MB more

    def test_the_films_problem_is_the_line(
        self, buckets: Buckets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "film"
        path.write_bytes(b"no image" * 10**6)
        assert main(["segment", str(path)]) == 2
        own = last_line(capsys)
        with serving(Gateway(worker(buckets))) as address:
            assert main(["remote", "segment", str(path), "--url", address]) == 2
        assert last_line(capsys) == own

    def test_a_form_that_cannot_be_made_is_one_line(
        self, buckets: Buckets, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "film.png"
        path.write_bytes(small + bytes(MAX_DIRECT_BYTES))
        with serving(Gateway(worker(buckets))) as address:
            assert main(["remote", "segment", str(path), "--url", address, "--format", "dicom-seg"]) == 2
        assert "dicom" in last_line(capsys)

    def test_waiting_ends(self, buckets: Buckets, large: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with serving(Gateway()) as address:
            assert main(["remote", "segment", str(large), "--url", address, "--wait", "1"]) == 1
        assert "job-unfinished" in last_line(capsys)

    def test_an_answer_too_large_for_lambda_comes_through_a_job(
        self, buckets: Buckets, film: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def hook(_: str, path: str, __: dict[str, str]) -> Answer | None:
            return problem(422, "answer-too-large") if path.startswith("/v1/segment") else None

        gateway = Gateway(both(hook, worker(buckets)))
        with serving(gateway) as address:
            assert main(["remote", "segment", str(film), "--url", address, "--format", "probability"]) == 0
        assert "goes again, through a job" in capsys.readouterr().err
        assert Path(f"{film}.probability.png").read_bytes() == here(film, "--format", "probability")

    def test_a_film_over_the_services_limit_is_not_uploaded(
        self, buckets: Buckets, large: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        film = ImageSource(large, limits.MAX_BYTES + 1)
        monkeypatch.setattr(ImageSource, "of", lambda _: film)
        with serving() as address:
            assert main(["remote", "segment", str(large), "--url", address]) == 2
        assert "too-large" in last_line(capsys)
        assert not buckets.client.list_objects_v2(Bucket=buckets.films).get("Contents")


class TestItself:
    @pytest.mark.parametrize("command", [["remote"], ["remote", "segment"], ["remote", "backfill"], ["doctor"]])
    def test_help_teaches_by_examples(
        self, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        said = capsys.readouterr().out
        assert "examples:\n" in said
        assert f"lungseg {' '.join(command)}" in said
        assert "LUNG_API_KEY" in said
        assert max(map(len, said.splitlines())) <= 80

    def test_no_command_is_help(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["remote"]) == 0
        assert "examples:" in capsys.readouterr().out

    def test_other_commands_load_neither_http_nor_aws(self) -> None:
        late = "{'boto3', 'botocore', 'httpx2', 'tqdm', 'fastapi'}"
        code = f"import sys, lungseg.cli.main; print(*{late} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""


def test_json_is_text_for_a_terminal_and_a_mask_is_not(service: str, film: Path) -> None:
    for form, code in (("mask", 2), ("json", 0)):
        ours, theirs = pty.openpty()
        arguments = command("remote", "segment", film, "--url", service, "--format", form, "-o", "-")
        done = subprocess.run(arguments, stdout=theirs, stderr=subprocess.PIPE, check=False)
        os.close(theirs)
        assert done.returncode == code
        if form == "json":
            assert json.loads(os.read(ours, 100_000))["verdict"]["decision"] == "accept"
        os.close(ours)
