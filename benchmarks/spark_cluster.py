"""Spark on this machine, with two processes, one of which is killed half-way. Is each mask the command's?

    python -m benchmarks.spark_cluster                500 copies of RG1, in several sizes and formats
    python -m benchmarks.spark_cluster --images 40    a quick try

Needs Java, and Spark: pip install pyspark pandas pyarrow.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas
from pyspark.sql import SparkSession

from benchmarks.engines import BATCH_SIZE, CountedSegmenter, prepared_trial

SCHEMA = "path string, mask binary, decision string, expected_dice double, error string"

FAILURES = 4
"""Attempts for one task, as on a cluster; one on a single machine otherwise."""


class FrameSegmenter:
    """The function for `mapInPandas`."""

    def __init__(self, counts: Path) -> None:
        self._counts = str(counts)

    def __call__(self, frames: Iterator[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        """Yield the columns of SCHEMA for each frame of path and bytes."""
        segmenter = CountedSegmenter(self._counts)
        for frame in frames:
            batch = {name: frame[name].to_numpy() for name in frame.columns}
            yield pandas.DataFrame({name: list(column) for name, column in segmenter(batch).items()})


def main() -> int:
    """Segment the images twice; return exit code 1 if a mask differs or is missing."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    with prepared_trial(__doc__) as trial:
        builder = SparkSession.builder.master(f"local[{trial.actors},{FAILURES}]").config("spark.ui.enabled", "false")
        spark = builder.config("spark.sql.execution.arrow.maxRecordsPerBatch", BATCH_SIZE).getOrCreate()
        started = time.perf_counter()
        files = spark.read.format("binaryFile").load(str(trial.images)).selectExpr("path", "content AS bytes")
        found = files.repartition(trial.count // BATCH_SIZE + 1).mapInPandas(FrameSegmenter(trial.counts), SCHEMA)
        rows = [(row.path, None if row.mask is None else bytes(row.mask)) for row in found.collect()]
        seconds = time.perf_counter() - started
        spark.stop()
        return trial.report("Spark", rows, seconds)


if __name__ == "__main__":
    sys.exit(main())
