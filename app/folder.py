"""Segment a folder of films in several processes, none of them lost to another's failure."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any

from app import errors, limits, naming, network
from app.encode.mask_png import mask_png
from app.pipeline import segment

Problem = dict[str, Any]

QUEUED = 4
"""Films handed to the pool for each worker: enough that none waits, few enough that a folder of any size does."""


def find_films(folder: Path) -> tuple[list[Path], list[Path]]:
    """Every file below ``folder``, hidden ones left out, and every folder that may not be read.

    Returns:
        Both sorted, relative to ``folder``. A link to a file counts as a file, wherever it leads; a link to a folder
        is not followed.
    """
    films: list[Path] = []
    closed: list[Path] = []
    walk = os.walk(folder, onerror=lambda error: closed.append(Path(error.filename).relative_to(folder)))
    for place, folders, files in walk:
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        films += [path.relative_to(folder) for path in paths if path.is_symlink() or path.is_file()]
    return sorted(films), sorted(closed)


def segment_folder(
    films: list[Path], source: Path, target: Path, workers: int
) -> Iterator[tuple[Path, Problem | None]]:
    """Segment ``films`` of ``source``; the masks appear under ``target`` in the same tree, each written whole.

    Yields:
        Each film as it is finished, with None, or with the problem document that was written in its mask's place.
    """
    waiting = dict.fromkeys(films)
    workers_now = workers
    while waiting:
        for film, problem in _round(list(waiting), source, target, workers_now):
            del waiting[film]
            yield film, problem
        if not waiting:
            return
        if workers_now == 1:
            # A worker died, and a single one takes films in order: the first still waiting is what it died of.
            film = next(iter(waiting))
            del waiting[film]
            killed = errors.InternalError("The process segmenting this film was killed.")
            yield film, _write_problem(target / film, killed)
        workers_now = workers if workers_now == 1 else 1


def _round(films: list[Path], source: Path, target: Path, workers: int) -> Iterator[tuple[Path, Problem | None]]:
    """Segment ``films`` in order until they are done or a worker dies."""
    threads = max(1, network.threads() // workers)
    # Spawned, not forked: onnxruntime's threads do not survive a fork.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _start_worker, (threads,)) as pool:
        running: dict[Future[Problem | None], Path] = {}
        queue = iter(films)
        try:
            while True:
                for film in islice(queue, QUEUED * workers - len(running)):
                    running[pool.submit(_segment_file, source / film, target / film)] = film
                if not running:
                    return
                died = False
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    film = running.pop(future)
                    try:
                        problem = future.result()
                    except BrokenProcessPool:
                        died = True
                    else:
                        yield film, problem
                if died:
                    return
        except BrokenProcessPool:  # a worker died between two results
            return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


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
    """Write ``data`` to ``path`` whole or not at all; a link is followed, a pipe or device written to as it is.

    Raises:
        OSError.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    number, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
        # mkstemp's files are their owner's alone; a mask is as readable as any file that its user writes.
        Path(partial).chmod(0o666 & ~_umask())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _start_worker(threads: int) -> None:
    os.environ["LUNG_THREADS"] = str(threads)
    network.load()


def _segment_file(film: Path, output: Path) -> Problem | None:
    """Segment one file next to ``output``'s name; a problem document takes the mask's place if it cannot be done."""
    try:
        mask = mask_png(segment(read_film(film)).mask)
    except errors.FilmError as error:
        return _write_problem(output, error)
    except OSError as error:
        return _write_problem(output, errors.Unreadable(f"The file cannot be read ({error.strerror})."))
    except Exception as error:
        return _write_problem(output, errors.InternalError(f"An unexpected {type(error).__name__} stopped it."))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output.with_name(naming.mask_name(output.name)), mask)
        output.with_name(naming.error_name(output.name)).unlink(missing_ok=True)
    except OSError as error:
        return _write_problem(output, errors.Unwritable(f"Its mask cannot be written ({error.strerror})."))
    return None


def _write_problem(output: Path, error: errors.FilmError) -> Problem:
    """Leave the problem document in the mask's place; where not even that can be written, it is only returned."""
    problem = error.problem()
    with contextlib.suppress(OSError):
        output.parent.mkdir(parents=True, exist_ok=True)
        # An older mask of the same name would pass for this film's.
        output.with_name(naming.mask_name(output.name)).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        write_whole(output.with_name(naming.error_name(output.name)), json.dumps(problem, indent=2).encode())
    return problem
