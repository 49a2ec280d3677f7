"""The commands where nothing is to be had that only POSIX or Linux has: as on Windows and macOS, simulated.

CI runs the installed package on the real ones. `as_on_windows/sitecustomize.py` says what is simulated.
"""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from processes import command, run, wait_for

from lungseg import segment
from lungseg.batch import worker_pool
from lungseg.batch.source import matches_pattern
from lungseg.cli import output
from lungseg.cli.main import main
from lungseg.encode.formats import FORMATS

AS_ON_WINDOWS = str(Path(__file__).parents[1] / "support" / "as_on_windows")

APPEND = """\
import sys
from pathlib import Path
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.file_mark import MISSING_FILE
from lungseg.batch.manifest_file import append_entry
for number in range(40):
    entry = Entry(f"{sys.argv[2]}-{number}.png", MISSING_FILE, True, "", "", {}, {}, Failure("a", "b" * 400))
    append_entry(Path(sys.argv[1]), entry)
"""

LOCK = """\
import sys
from pathlib import Path
from lungseg.batch import folder_lock
from lungseg.batch.shard import Shard
folder_lock.LOCK_PATIENCE = folder_lock.SHARD_PATIENCE = 0
target = Path(sys.argv[1])

def lock(shard=None):
    try:
        return folder_lock.lock_folder(target, shard)
    except folder_lock.FolderInUse:
        print("in use")
        return []

def unlock(*files):
    for file in files:
        file.close()

whole = lock()
lock(), lock(Shard(1, 2))
unlock(*whole)
shards = [*lock(Shard(1, 2)), *lock(Shard(2, 2))]
lock(), lock(Shard(2, 2)), lock(Shard(1, 3))
unlock(*shards)
print(len(lock()))
"""


@pytest.fixture(scope="module")
def mask(small: bytes) -> bytes:
    """Return the mask of the small image, made on this system."""
    return segment(small).encode("mask")


def start_there(program: str, *arguments: object, platform: str = "win32") -> subprocess.Popen[str]:
    """Start a program that is a part of `lungseg`, as its own modules are."""
    line = [sys.executable, "-c", f"__package__ = 'lungseg'\n{program}", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": AS_ON_WINDOWS, "AS_ON": platform}
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("platform", "lacks"), [("win32", "fcntl resource pthread_sigmask"), ("darwin", "")])
def test_simulation_hides_what_the_system_lacks(platform: str, lacks: str) -> None:
    program = """
import os, signal, sys
found = []
for name in ("fcntl", "resource"):
    try:
        __import__(name, globals())
    except ModuleNotFoundError:
        found.append(name)
found += ["pthread_sigmask"] * (not hasattr(signal, "pthread_sigmask"))
print(sys.platform, hasattr(os, "sched_getaffinity"), *found)
"""
    said, _ = start_there(program, platform=platform).communicate(timeout=60)
    assert said.split() == [platform, "False", *lacks.split()]


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_segment_writes_the_same_mask(platform: str, small: bytes, mask: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.png").write_bytes(small)
    done = run("segment", tmp_path / "image.png", PYTHONPATH=AS_ON_WINDOWS, AS_ON=platform)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "image.png.mask.png").read_bytes() == mask


def test_batch_and_watch_lose_no_image(
    small: bytes, mask: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    (images / "ward").mkdir(parents=True)
    names = ["a.png", "b.png", "c.png", "ward/d.png", "ward/bad.png"]
    for name in names:
        (images / name).write_bytes(b"no image" if name.endswith("bad.png") else small)
    told = ("batch", images, masks, "--workers", 2, "--csv", tmp_path / "measures.csv")
    done = run(*told, PYTHONPATH=AS_ON_WINDOWS)
    assert done.returncode == 1, done.stderr
    assert b"5 images: 4 segmented, 0 done before, 1 failed" in done.stderr
    with (tmp_path / "measures.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == sorted(names, key=lambda name: ("/" in name, name))
    # Resumed on this system: paths in the manifest have slashes, whichever system wrote them.
    main(list(map(str, told)))
    assert "4 done before, 1 failed" in capsys.readouterr().err

    with subprocess.Popen(
        command("batch", images, masks, "--workers", 2, "--watch", "--every", 1),
        env=os.environ | {"PYTHONPATH": AS_ON_WINDOWS},
        stderr=subprocess.DEVNULL,
    ) as watch:
        (images / "late.png").write_bytes(small)
        os.utime(images / "late.png", (0, 0))
        wait_for(lambda: (masks / "late.png.mask.png").exists() or watch.poll() is not None)
        watch.terminate()
    assert watch.returncode == 0
    assert {path.read_bytes() for path in masks.rglob("*.mask.png")} == {mask}


def test_serve_answers(small: bytes, mask: bytes) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": AS_ON_WINDOWS}
    with subprocess.Popen(command("serve", "--port", port), env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/segment", data=small)
            deadline = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(request, timeout=60) as response:
                        answer = response.read()
                    break
                except urllib.error.URLError:
                    assert server.poll() is None and time.monotonic() < deadline, "the server did not start"
                    time.sleep(0.1)
        finally:
            server.terminate()
    assert answer == mask


def test_appending_at_the_same_time_keeps_every_line(tmp_path: Path) -> None:
    writers = [start_there(APPEND, tmp_path, name) for name in "ab"]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    lines = (tmp_path / ".films.jsonl").read_bytes().splitlines()
    assert len(lines) == len(set(lines)) == 80


def test_second_run_is_locked_out_on_windows(tmp_path: Path) -> None:
    process = start_there(LOCK, tmp_path)
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()) == (0, ["in use"] * 5 + ["1"])


def test_pattern_ignores_case_where_the_system_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not matches_pattern(("IMAGE.DCM",), ("*.dcm",))
    monkeypatch.setattr(os.path, "normcase", str.lower)
    assert matches_pattern(("IMAGE.DCM",), ("*.dcm",))


def test_output_is_beside_an_image_whose_path_has_backslashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sep", "\\")
    deep = "C:\\" + "\\".join(["a folder of a study"] * 20)
    assert output.path_beside(f"{deep}\\image.dcm", FORMATS["mask"]) == deep.replace("\\", "/") + "/image.dcm.mask.png"


def test_ctrl_c_does_not_interrupt_the_wait_for_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(connections: object, timeout: float) -> None:
        raise InterruptedError

    monkeypatch.setattr(worker_pool, "wait", interrupted)
    assert worker_pool._wait_for_answers([], time.monotonic() + 9) == []
