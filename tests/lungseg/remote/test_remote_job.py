"""`remote segment` with images that are too large for one request: they are processed as jobs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from buckets import Buckets
from processes import only_line
from remote_command import segment_locally
from services import Answer, Gateway, both, keyed, line_to, problem, serving, worker

from lungseg import limits
from lungseg.cli.main import main
from lungseg.remote.image_source import ImageSource
from lungseg.remote.retry import RetryPolicy
from lungseg.remote.segment import MAX_DIRECT_BYTES
from lungseg.remote.service import ServiceClient

KEY = "a-key-of-the-tests"


class TestJobs:
    """The real routes and the real function, with the buckets of a local S3 server."""

    @pytest.mark.parametrize("choices", [(), ("--format", "labels", "--threshold", "0.2", "--no-clean")])
    def test_large_image_equals_that_of_segment(
        self, choices: tuple[str, ...], buckets: Buckets, large_image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        output = f"{large_image}.out"
        with serving(Gateway(worker(buckets, looks=2))) as address:
            assert main(["remote", "segment", str(large_image), "--url", address, "-o", output, *choices]) == 0
        printed = capsys.readouterr().err
        assert re.search(r"sent as job [0-9a-f]{32} \(", printed)
        assert "verdict: accept" in printed
        assert Path(output).read_bytes() == segment_locally(large_image, *choices)
        listed = buckets.client.list_objects_v2(Bucket=buckets.films)["Contents"]
        assert [re.sub("[0-9a-f]{32}", "ID", each["Key"]) for each in listed] == ["jobs/ID/film"]
        stored = buckets.client.get_object(Bucket=buckets.films, Key=listed[0]["Key"])["Body"].read()
        assert hashlib.sha256(stored).digest() == hashlib.sha256(large_image.read_bytes()).digest()

    def test_bucket_sees_neither_credentials_nor_file_name(
        self,
        buckets: Buckets,
        s3: str,
        large_image: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        from app.buckets.s3 import get_store

        gateway = Gateway(both(keyed(KEY), worker(buckets)))
        monkeypatch.setenv("LUNG_API_KEY", KEY)
        with line_to(s3) as line, serving(gateway) as address:
            # From here on, the service presigns URLs that lead through the line.
            monkeypatch.setenv("AWS_ENDPOINT_URL", line.address)
            get_store.cache_clear()
            assert main(["remote", "segment", str(large_image), "--url", address]) == 0
        heard = bytes(line.heard)
        assert heard.count(large_image.read_bytes()) == 1
        assert KEY.encode() not in heard
        assert b"patient" not in heard
        assert all(headers.get("x-api-key") == KEY for _, _, headers in gateway.seen)
        assert KEY not in capsys.readouterr().err

    def test_interrupted_upload_is_retried(self, buckets: Buckets, s3: str, large_image: Path) -> None:
        form = buckets.client.generate_presigned_post(buckets.films, "film", ExpiresIn=60)
        with (
            line_to(s3, breaks=2) as line,
            ServiceClient(line.address, retries=RetryPolicy(first_pause=0.01)) as service,
        ):
            service.upload_image(f"{line.address}/{buckets.films}", form["fields"], ImageSource.of(large_image))
        stored = buckets.client.get_object(Bucket=buckets.films, Key="film")["Body"].read()
        assert stored == large_image.read_bytes()

    def test_memory_does_not_grow_with_the_image(self, tmp_path: Path) -> None:
        path, peaks = tmp_path / "image", []
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
                assert "job-unfinished" in done.stderr  # the job has expired when its image has been sent
                peaks.append(int(done.stdout.partition("VmHWM:")[2].split()[0]))
        assert peaks[1] - peaks[0] < 10_000  # kilobytes, for 76 MB more

    def test_job_error_equals_that_of_segment(
        self, buckets: Buckets, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "image"
        path.write_bytes(b"no image" * 10**6)
        assert main(["segment", str(path)]) == 2
        own = only_line(capsys)
        with serving(Gateway(worker(buckets))) as address:
            assert main(["remote", "segment", str(path), "--url", address]) == 2
        assert only_line(capsys) == own

    def test_unavailable_format_is_one_line(
        self, buckets: Buckets, tmp_path: Path, small: bytes, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = tmp_path / "image.png"
        path.write_bytes(small + bytes(MAX_DIRECT_BYTES))
        with serving(Gateway(worker(buckets))) as address:
            assert main(["remote", "segment", str(path), "--url", address, "--format", "dicom-seg"]) == 2
        assert "dicom" in only_line(capsys)

    def test_waiting_for_a_job_times_out(
        self, buckets: Buckets, large_image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with serving(Gateway()) as address:
            assert main(["remote", "segment", str(large_image), "--url", address, "--wait", "1"]) == 1
        assert "job-unfinished" in only_line(capsys)

    def test_response_too_large_for_lambda_becomes_a_job(
        self, buckets: Buckets, image: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def hook(_: str, path: str, __: dict[str, str]) -> Answer | None:
            return problem(422, "answer-too-large") if path.startswith("/v1/segment") else None

        gateway = Gateway(both(hook, worker(buckets)))
        with serving(gateway) as address:
            assert main(["remote", "segment", str(image), "--url", address, "--format", "probability"]) == 0
        assert "sending the image again as a job" in capsys.readouterr().err
        assert Path(f"{image}.probability.png").read_bytes() == segment_locally(image, "--format", "probability")

    def test_image_over_the_services_limit_is_not_uploaded(
        self, buckets: Buckets, large_image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        oversized = ImageSource(large_image, limits.MAX_BYTES + 1)
        monkeypatch.setattr(ImageSource, "of", lambda _: oversized)
        with serving() as address:
            assert main(["remote", "segment", str(large_image), "--url", address]) == 2
        assert "too-large" in only_line(capsys)
        assert not buckets.client.list_objects_v2(Bucket=buckets.films).get("Contents")
