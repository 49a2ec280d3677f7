"""Ray Data on this machine: two actors, one of which is killed half-way. Is each mask the command's?

    python -m benchmarks.ray_cluster                500 copies of RG1, in several sizes and formats
    python -m benchmarks.ray_cluster --images 40    a quick try
    python -m benchmarks.ray_cluster --source '../shared/data/more/**/images/*'

Needs Ray: pip install "ray[data]".
"""

from __future__ import annotations

import sys
import time

import ray

from benchmarks.engines import BATCH_SIZE, CountedSegmenter, prepared_trial


def main() -> int:
    """Segment the images twice; return exit code 1 if a mask differs or is missing."""
    with prepared_trial(__doc__) as trial:
        # One more than the actors need: the task that reads the files takes one, too, and Ray waits for it for ever.
        ray.init(num_cpus=trial.actors + 1, include_dashboard=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        started = time.perf_counter()
        files = ray.data.read_binary_files(str(trial.images), include_paths=True)
        rows = files.map_batches(
            CountedSegmenter,
            fn_constructor_args=(str(trial.counts),),
            batch_size=BATCH_SIZE,
            compute=ray.data.ActorPoolStrategy(size=trial.actors),
        ).take_all()
        seconds = time.perf_counter() - started
        ray.shutdown()
        return trial.report("Ray", [(row["path"], row["mask"]) for row in rows], seconds)


if __name__ == "__main__":
    sys.exit(main())
