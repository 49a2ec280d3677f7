"""Segment a folder of films in several processes, none of them lost to another's failure."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from app import errors, limits, naming, network
from app.encode.mask_png import mask_png
from app.pipeline import segment

Problem = dict[str, Any]


def find_films(folder: Path) -> list[Path]:
    """Every file below ``folder``, hidden ones left out, as sorted paths relative to it."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in paths if not any(part.startswith(".") for part in path.parts))


def segment_folder(
    films: list[Path], source: Path, target: Path, workers: int
) -> Iterator[tuple[Path, Problem | None]]:
    """Segment ``films`` of ``source``; the masks appear under ``target`` in the same tree, each written whole.

    Yields:
        Each film as it is finished, with None, or with the problem document that was written in its mask's place.
    """
    threads = max(1, network.threads() // workers)
    waiting = dict.fromkeys(films)
    workers_now = workers
    while waiting:
        # Spawned, not forked: onnxruntime's threads do not survive a fork.
        with ProcessPoolExecutor(workers_now, multiprocessing.get_context("spawn"), _start_worker, (threads,)) as pool:
            try:
                futures = {pool.submit(_segment_file, source / film, target / film): film for film in waiting}
                for future in as_completed(futures):
                    try:
                        problem = future.result()
                    except BrokenProcessPool:
                        continue
                    film = futures[future]
                    del waiting[film]
                    yield film, problem
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if not waiting:
            return
        if workers_now > 1:
            workers_now = 1
            continue
        # A worker died, and a single one takes films in order: the first still waiting is what it died of.
        film = next(iter(waiting))
        del waiting[film]
        yield film, _write_problem(target / film, errors.InternalError("The process segmenting this film was killed."))
        workers_now = workers


def read_film(path: Path) -> bytes:
    """The bytes of a film's file.

    Raises:
        TooLarge: before more than the limit was read.
        OSError.
    """
    with path.open("rb") as file:
        data = file.read(limits.MAX_BYTES + 1)
    limits.check_bytes(len(data))
    return data


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _start_worker(threads: int) -> None:
    os.environ["LUNG_THREADS"] = str(threads)
    network.load()


def _segment_file(film: Path, output: Path) -> Problem | None:
    """Segment one file next to ``output``'s name; a problem document takes the mask's place if it cannot be done."""
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        mask = mask_png(segment(read_film(film)).mask)
    except errors.FilmError as error:
        return _write_problem(output, error)
    except OSError as error:
        return _write_problem(output, errors.Unreadable(f"The file cannot be read ({error.strerror})."))
    except Exception as error:
        return _write_problem(output, errors.InternalError(f"An unexpected {type(error).__name__} stopped it."))
    write_whole(output.with_name(naming.mask_name(output.name)), mask)
    output.with_name(naming.error_name(output.name)).unlink(missing_ok=True)
    return None


def _write_problem(output: Path, error: errors.FilmError) -> Problem:
    # An older mask of the same name would pass for this film's.
    output.with_name(naming.mask_name(output.name)).unlink(missing_ok=True)
    problem = error.problem()
    write_whole(output.with_name(naming.error_name(output.name)), json.dumps(problem, indent=2).encode())
    return problem
