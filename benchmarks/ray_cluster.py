"""Ray Data on this machine: two actors, one of which is killed on the way. Is each mask the command's?

    python -m benchmarks.ray_cluster                500 images
    python -m benchmarks.ray_cluster --images 40    a quick try

The images are the packaged image RG1 in several sizes and formats. Needs Ray: pip install "ray[data]".
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray

from benchmarks.folder import make
from lungseg import Segmenter
from lungseg.cli.main import main as run_command

BATCH_SIZE = 8


class MortalSegmenter(Segmenter):
    """A segmenter whose process is killed, once in all, when it gets one certain image."""

    def __init__(self, image: str, mark: str) -> None:
        super().__init__(["mask"])
        self._image, self._mark = image, mark

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Segment a batch, or die."""
        if any(str(path).endswith(self._image) for path in batch["path"]) and not Path(self._mark).exists():
            Path(self._mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch) | {"pid": [os.getpid()] * len(batch["path"])}


def main() -> int:
    """Make the images, segment them twice, compare; return exit code 1 if a mask differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--actors", type=int, default=2)
    choices = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, target, mark = (Path(temporary, name) for name in ("images", "masks", "died"))
        make(folder, choices.images)
        run_command(["batch", str(folder), str(target), "--workers", str(choices.actors)])

        # One more than the actors need: the task that reads the files takes one, too, and Ray waits for it for ever.
        ray.init(num_cpus=choices.actors + 1, include_dashboard=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        victim = sorted(path.name for path in folder.rglob("*") if path.is_file())[choices.images // 2]
        started = time.perf_counter()
        files = ray.data.read_binary_files(str(folder), include_paths=True)
        rows = files.map_batches(
            MortalSegmenter,
            fn_constructor_args=(victim, str(mark)),
            batch_size=BATCH_SIZE,
            compute=ray.data.ActorPoolStrategy(size=choices.actors),
        ).take_all()
        seconds = time.perf_counter() - started
        ray.shutdown()

        wrong = [row["path"] for row in rows if row["mask"] != _expected(row["path"], folder, target)]
        failed = sum(row["error"] is not None for row in rows)
        pids = {row["pid"] for row in rows}
        print(
            f"{len(rows)} images by {len(pids)} processes in {seconds:.0f} s, an actor killed: {mark.exists()}; "
            f"{failed} broken, {len(wrong)} masks differ from the command's"
        )
        return int(bool(wrong) or len(rows) != choices.images or not mark.exists())


def _expected(path: str, folder: Path, target: Path) -> bytes | None:
    """Return the mask that the command wrote; None if the image is broken."""
    mask = target / f"{Path(path).relative_to(folder)}.mask.png"
    return mask.read_bytes() if mask.exists() else None


if __name__ == "__main__":
    sys.exit(main())
