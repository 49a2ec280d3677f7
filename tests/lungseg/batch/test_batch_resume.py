"""What `batch` does after it was stopped or killed, and after images or options have changed."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from batch_folder import output_times, start_batch
from processes import SLOW_FILES, alive, has_reader, reader_of, run, send, wait_for, workers_of

from lungseg.batch.manifest_file import MANIFEST_NAME

PROC = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")


class TestResume:
    def test_outputs_are_kept_while_a_share_is_not_mounted(self, source: Path, target: Path, small: bytes) -> None:
        elsewhere = source.parent / "share"
        elsewhere.mkdir()
        (elsewhere / "a.png").write_bytes(small)
        (source / "a.png").symlink_to(elsewhere / "a.png")
        assert run("batch", source, target).returncode == 0
        elsewhere.rename(source.parent / "gone")
        assert run("batch", source, target).returncode == 1
        assert set(output_times(target)) == {"a.png.mask.png", "a.png.error.json"}
        (source.parent / "gone").rename(elsewhere)
        assert run("batch", source, target).returncode == 0
        assert set(output_times(target)) == {"a.png.mask.png"}

    def test_changed_images_are_processed_again(self, source: Path, target: Path, small: bytes) -> None:
        for name in ("same.png", "lost.png", "bad.png", "good.png", "worse.png"):
            (source / name).write_bytes(small)
        (source / "bad.png").write_bytes(b"no image")
        assert run("batch", source, target, "--workers", 2).returncode == 1
        first = output_times(target)

        (target / "lost.png.mask.png").write_bytes(b"")
        (source / "bad.png").write_bytes(small)
        (source / "worse.png").write_bytes(b"damaged meanwhile")
        result = run("batch", source, target, "--workers", 2, "--format", "json", "--format", "mask")
        assert "5 images: 4 segmented, 0 done before, 1 failed" in result.stderr.decode()
        second = output_times(target)
        names = ("same.png", "lost.png", "bad.png", "good.png")
        assert set(second) == {f"{n}.{o}" for n in names for o in ("mask.png", "json")} | {"worse.png.error.json"}
        kept = {name for name in second if second[name] == first.get(name)}
        assert kept == {"same.png.mask.png", "good.png.mask.png"}

        result = run("batch", source, target, "--workers", 2, "--threshold", "0.3")
        assert "5 images: 4 segmented, 0 done before, 1 failed" in result.stderr.decode()
        third = output_times(target)
        assert set(third) == {f"{name}.mask.png" for name in names} | {"worse.png.error.json"}
        assert not set(third.items()) & set(second.items())
        assert run("batch", source, target, "--again", "--threshold", "0.3").returncode == 1
        assert not set(output_times(target).items()) & set(third.items())

    @PROC
    def test_killed_run_resumes(self, source: Path, target: Path, small: bytes) -> None:
        for number in range(20):
            (source / f"{number}.png").write_bytes(small)
        with start_batch("batch", source, target, "--workers", 2) as batch:
            wait_for(lambda: len(list(target.glob("*.mask.png"))) > 4)
            workers = workers_of(batch.pid)
            batch.kill()
            batch.wait()
        wait_for(lambda: not any(map(alive, workers)))
        with (target / MANIFEST_NAME).open("ab") as manifest:
            manifest.write(b'{"path":"19.png","size":12')
        (target / ".lung-partial-abcd1234").write_bytes(b"half a mask")
        before = output_times(target)
        del before[".lung-partial-abcd1234"]
        assert 4 < len(before) < 20
        result = run("batch", source, target, "--workers", 2)
        assert result.returncode == 0
        assert f"20 images: {20 - len(before)} segmented, {len(before)} done before, 0 failed" in result.stderr.decode()
        after = output_times(target)
        assert set(after) == {f"{number}.png.mask.png" for number in range(20)}
        assert before.items() <= after.items()
        assert "20 done before" in run("batch", source, target).stderr.decode()

    def test_outputs_of_an_earlier_version_are_replaced(self, source: Path, target: Path, small: bytes) -> None:
        (source / "image.png").write_bytes(small)
        target.mkdir()
        (target / "image.png.mask.png").write_bytes(b"of who knows what")
        (target / MANIFEST_NAME).write_bytes(b'{"film": "image.png", "done": true}\nno JSON at all\n')
        assert "1 segmented" in run("batch", source, target).stderr.decode()
        assert (target / "image.png.mask.png").read_bytes().startswith(b"\x89PNG")


@PROC
class TestKilled:
    """A named pipe as an image keeps its worker waiting as long as a test needs."""

    @pytest.fixture
    def pipe(self, source: Path, small: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
        for name in ("a.png", "z.png"):
            (source / name).write_bytes(small)
        os.mkfifo(source.parent / "pipe")
        (source / "slow.png").symlink_to(source.parent / "pipe")
        return source.parent / "pipe"

    def test_image_that_kills_its_process_fails_alone(self, source: Path, target: Path, pipe: Path) -> None:
        with start_batch("batch", source, target) as batch:
            for _ in range(2):
                number = reader_of(pipe)
                (worker,) = workers_of(batch.pid)
                os.kill(worker, signal.SIGKILL)
                os.close(number)
                wait_for(lambda: not has_reader(pipe))
            _, printed = batch.communicate(timeout=60)
        assert batch.returncode == 1
        assert b"failed: slow.png: internal-error" in printed
        assert b"3 images: 2 segmented, 0 done before, 1 failed" in printed
        assert set(output_times(target)) == {"a.png.mask.png", "z.png.mask.png", "slow.png.error.json"}

    def test_process_killed_once_loses_no_image(self, source: Path, target: Path, pipe: Path, small: bytes) -> None:
        with start_batch("batch", source, target, "--workers", 2) as batch:
            number = reader_of(pipe)
            wait_for(lambda: len(list(target.glob("*.mask.png"))) == 2)
            for worker in workers_of(batch.pid):
                os.kill(worker, signal.SIGKILL)
            os.close(number)
            wait_for(lambda: not has_reader(pipe))
            send(reader_of(pipe), small)
            _, printed = batch.communicate(timeout=60)
        assert batch.returncode == 0, printed
        assert b"3 images: 3 segmented" in printed

    def test_ctrl_c_finishes_the_current_image(self, source: Path, target: Path, pipe: Path, small: bytes) -> None:
        with start_batch("batch", source, target, "--report", source.parent / "r.json") as batch:
            number = reader_of(pipe)
            os.killpg(batch.pid, signal.SIGINT)
            send(number, small)
            _, printed = batch.communicate(timeout=60)
        assert batch.returncode == 130
        assert b"run the same command again to continue" in printed
        assert set(output_times(target)) == {"a.png.mask.png", "slow.png.mask.png"}
        assert json.loads((source.parent / "r.json").read_text())["stopped"] is True

    def test_second_ctrl_c_stops_at_once(self, source: Path, target: Path, pipe: Path) -> None:
        with start_batch("batch", source, target) as batch:
            number = reader_of(pipe)
            workers = workers_of(batch.pid)
            os.kill(batch.pid, signal.SIGINT)
            time.sleep(0.5)
            assert batch.poll() is None
            os.kill(batch.pid, signal.SIGINT)
            _, printed = batch.communicate(timeout=60)
            os.close(number)
        assert batch.returncode == 130
        assert b"Traceback" not in printed
        wait_for(lambda: not any(map(alive, workers)))

    def test_worker_ends_when_its_run_is_killed(
        self, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would hold the lock while it works on its image, and nothing else would end it."""
        monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
        os.mkfifo(source / "slow.png")
        with start_batch("batch", source, target) as process:
            slow = reader_of(source / "slow.png")  # keeps it open, so that the worker waits for bytes
            (worker,) = workers_of(process.pid)
            process.kill()
            process.wait()
            wait_for(lambda: not alive(worker), 20)
            os.close(slow)
        (source / "slow.png").unlink()
        assert run("batch", source, target).returncode == 2  # no image is left, and the lock is free
