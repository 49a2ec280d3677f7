"""A large folder: throughput, memory, and whether a run that is killed half-way loses or repeats anything.

    python -m benchmarks.folder                 10,000 images, two workers
    python -m benchmarks.folder --images 60     a quick try

The images are the packaged image RG1 in several sizes and formats, with a known number of broken files. `batch`
is killed with SIGKILL half-way and started again. Linux only, because it reads /proc.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.data import get_testdata_file

from lungseg.batch.manifest_file import MANIFEST_NAME
from lungseg.decode import decode
from lungseg.files import PARTIAL_PREFIX

IMAGES_PER_FOLDER = 500

BROKEN_EVERY = 20
"""One of so many files is broken."""

MEMORY_POINTS = (0.1, 0.5, 1.0)
"""Fractions of the images at which memory is printed."""


@dataclass
class BatchRun:
    """Measurements of one run.

    Attributes:
        code: its exit code, negative for a signal.
        seconds: from its start to its end.
        memory: MiB of all its processes together, by the number of finished images.
        lines: its standard error.
    """

    code: int
    seconds: float
    memory: dict[int, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)


def main() -> int:
    """Make the images, run, kill, resume, check; return exit code 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="files to make (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "in"), Path(place, "out")
        broken = make(source, arguments.images)
        size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        print(f"{arguments.images} files, {broken} of them broken, {size / 1e6:.0f} MB; {arguments.workers} workers")
        return measure(source, target, arguments.images, broken, arguments.workers)


def make(folder: Path, count: int) -> int:
    """Write the images; return how many of them are broken."""
    image = get_testdata_file("RG1_UNCR.dcm", download=False)
    if image is None:
        raise SystemExit("error: RG1 is not installed; run: pip install -r lungseg/requirements.txt")
    data = Path(str(image)).read_bytes()
    good, bad = cycle(variants(data)), cycle([b"", b"no image", next(variants(data))[1][:4000]])
    broken = 0
    for number in range(count):
        place = folder / f"{number // IMAGES_PER_FOLDER:03}"
        place.mkdir(parents=True, exist_ok=True)
        suffix, content = next(good)
        if number % BROKEN_EVERY == BROKEN_EVERY // 2:
            content = next(bad)
            broken += 1
        (place / f"{number:06}{suffix}").write_bytes(content)
    return broken


def variants(image: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield suffix and bytes of copies of RG1: small JPEGs and PNGs, one large PNG, and the original."""
    pixels = decode(image).pixels
    picture = Image.fromarray((pixels >> 8).astype(np.uint8))
    for side in (512, 640, 768, 1024):
        height = round(side * picture.height / picture.width)
        smaller = picture.resize((side, height), reducing_gap=2.0)
        for file_format, suffix in (("JPEG", ".jpg"), ("PNG", ".png"), ("JPEG", ".jpeg")):
            for turns in (0, 1):
                yield suffix, encode_picture(smaller.rotate(2 * turns), file_format)
    yield ".png", encode_picture(picture, "PNG")
    yield ".dcm", image


def encode_picture(picture: Image.Image, file_format: str) -> bytes:
    """Return a picture as an image file."""
    buffer = io.BytesIO()
    picture.save(buffer, file_format)
    return buffer.getvalue()


def measure(source: Path, target: Path, images: int, broken: int, workers: int) -> int:
    """Run until half is done, kill, run to the end, run once more; print and check."""
    command = [sys.executable, "-m", "lungseg", "batch", str(source), str(target), "--workers", str(workers)]
    first = run_batch(command, target, kill_at=images // 2)
    before = outputs(target)
    finished = {name: before[name] for name in recorded(target) if name in before}
    second = run_batch(command, target)
    after = outputs(target)
    third = run_batch(command, target)

    memory = second.memory | first.memory
    for point in MEMORY_POINTS:
        done = min(memory, key=lambda count: abs(count - point * images))
        print(f"memory at {point:4.0%}: {memory[done]:6.0f} MiB in all processes ({done} images done)")
    half = max(first.memory)
    print(f"first half:  {half} images in {first.seconds:.1f} s, {half / first.seconds:.1f} images/s; then SIGKILL")
    left = images - len(finished)
    print(f"second half: {left} images in {second.seconds:.1f} s, {left / second.seconds:.1f} images/s")
    print(f"nothing to do: {third.seconds:.1f} s, {images / third.seconds:.0f} images/s")

    failures = [line for line in second.lines if line.startswith("failed: ")]
    names = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    of = {re.sub(r"\.(mask\.png|error\.json)$", "", name) for name in after}
    checks = {
        "killed when about half was done": 0 < len(finished) < images,
        "each image has exactly one output": of == names and len(after) == images,
        "none that was finished was done again": all(after.get(name) == time for name, time in finished.items()),
        "a third run does nothing": outputs(target) == after,
        "no half-written file is left": not list(target.rglob(f"{PARTIAL_PREFIX}*")),
        "as many problem documents as broken files": sum(name.endswith(".json") for name in after) == broken,
        "one line for each failure": len(failures) == broken and len(set(failures)) == broken,
        "exit codes 1: some images failed": second.code == third.code == 1,
    }
    for name, holds in checks.items():
        print(f"{'ok' if holds else 'FAILED':<8}{name}")
    return 0 if all(checks.values()) else 1


def run_batch(command: list[str], target: Path, kill_at: int | None = None) -> BatchRun:
    """Run `batch` and sample its memory; kill it when ``kill_at`` images are done."""
    started = time.monotonic()
    memory: dict[int, float] = {}
    done = read = 0
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stderr=said) as process:
            while process.poll() is None:
                new = lines_from(target / MANIFEST_NAME, read)
                done, read = done + new.count(b"\n"), read + len(new)
                used = sum(mebibytes(pid) for pid in family(process.pid))
                memory[done] = max(used, memory.get(done, 0))
                if kill_at is not None and done >= kill_at:
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.5)
        said.seek(0)
        lines = said.read().replace("\r", "\n").splitlines()
    return BatchRun(process.returncode, time.monotonic() - started, memory, lines)


def lines_from(manifest: Path, start: int) -> bytes:
    """Return what was appended to the manifest, which has one line per image."""
    try:
        with manifest.open("rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def recorded(target: Path) -> set[str]:
    """Return the outputs that the manifest names."""
    found = set()
    for line in (target / MANIFEST_NAME).read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # truncated by the kill
            continue
        found |= {entry["path"] + suffix for suffix in entry["outputs"]}
    return found


def outputs(target: Path) -> dict[str, int]:
    """Return the modification time of each output by its path."""
    files = (path for path in target.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(target).as_posix(): path.stat().st_mtime_ns for path in files}


def family(pid: int) -> list[int]:
    """Return the ids of a process and all its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(other for child in children for other in family(int(child)))]


def mebibytes(pid: int) -> float:
    """Return the memory of a process in MiB, with its share of shared pages (PSS)."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.split("Pss:")[1].split()[0]) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
