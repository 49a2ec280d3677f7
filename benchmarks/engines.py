"""What the benchmarks of engines share: images, the command's masks, and a worker process that is killed half-way."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.folder import make
from lungseg import Segmenter
from lungseg.batch.source import FolderSource
from lungseg.cli.main import main as run_command

BATCH_SIZE = 8

POLL_SECONDS = 0.05


class CountedSegmenter(Segmenter):
    """A segmenter that writes down, for each process, how many images it has segmented."""

    def __init__(self, counts: str) -> None:
        """Count in a file of the folder ``counts``, which is named after the process and has a byte for each image."""
        super().__init__(["mask"])
        self._counts = counts

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Segment a batch, and count it."""
        found = super().__call__(batch)
        with Path(self._counts, str(os.getpid())).open("ab") as file:
            file.write(b"." * len(found["path"]))
        return found


@dataclass
class Trial:
    """The images of one run, and what the command made of them.

    Attributes:
        images: the folder of images.
        masks: the folder of the command's outputs.
        counts: the folder for `CountedSegmenter`.
        count: the number of images.
        actors: the number of processes.
        killed: the process that was killed; None until then.
    """

    images: Path
    masks: Path
    counts: Path
    count: int
    actors: int
    killed: int | None = None

    def report(self, engine: str, rows: Iterable[tuple[str, bytes | None]], seconds: float) -> int:
        """Print what an engine made of the images: pairs of path and mask. Return 1 if that is not the command's."""
        made = {Path(path).name: mask for path, mask in rows}
        names = {path.name for path in self.images.iterdir()}
        differing = [name for name in names & made.keys() if made[name] != self._expected(name)]
        masks = sum(mask is not None for mask in made.values())
        processes = len(list(self.counts.iterdir()))
        print(
            f"{engine}: {len(made)} of {len(names)} images by {processes} processes in {seconds:.0f} s; process "
            f"{self.killed} was killed; {masks} masks, {len(made) - masks} errors, {len(differing)} masks differ from "
            "the command's"
        )
        # Spark's binaryFile skips empty files.
        lost = {path.name for path in self.images.iterdir() if path.stat().st_size} - made.keys()
        return int(bool(differing or lost) or made.keys() - names != set() or self.killed is None)

    def kill_one(self) -> None:
        """Wait until half of the images are done, then kill the process that has done most of them."""
        while True:
            done = [(path.stat().st_size, int(path.name)) for path in self.counts.iterdir()]
            if sum(count for count, _ in done) >= self.count // 2:
                self.killed = max(done)[1]
                os.kill(self.killed, signal.SIGKILL)
                return
            time.sleep(POLL_SECONDS)

    def _expected(self, name: str) -> bytes | None:
        mask = self.masks / f"{name}.mask.png"
        return mask.read_bytes() if mask.exists() else None


@contextlib.contextmanager
def prepared_trial(description: str | None) -> Iterator[Trial]:
    """Read the command line, run the command, and watch for the moment to kill a process."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--actors", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    parser.add_argument("--source", metavar="IN_DIR|PATTERN", help="images to take, as of `lungseg batch`")
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary, name) for name in ("images", "masks", "counts")]
        for folder in folders:
            folder.mkdir()
        trial = Trial(*folders, choices.images, choices.actors)
        link_images(trial, choices.source)
        started = time.perf_counter()
        run_command(["batch", str(trial.images), str(trial.masks), "--workers", str(trial.actors)])
        print(f"the command: {time.perf_counter() - started:.0f} s")
        threading.Thread(target=trial.kill_one, daemon=True).start()
        yield trial


def link_images(trial: Trial, source: str | None) -> None:
    """Put links to images into one folder: of ``source``, evenly spread; else copies of RG1, some of them broken."""
    if source is None:
        made = trial.images.with_name("made")
        make(made, trial.count)
        found = sorted(path for path in made.rglob("*") if path.is_file())
    else:
        folder = FolderSource.parse(source)
        every = [(folder.folder / path).resolve() for path in folder.images()]
        found = [every[number * len(every) // trial.count] for number in range(min(trial.count, len(every)))]
    if len(found) < trial.count:
        raise SystemExit(f"error: there are {len(found)} images; choose fewer with --images")
    for number, path in enumerate(found):
        (trial.images / f"{number:06}{path.suffix}").symlink_to(path)
