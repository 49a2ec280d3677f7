"""The processes that segment a folder's images, driven from here: which of them die, and what that costs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from processes import SLOW_FILES, alive, wait_for, workers_of

from lungseg import errors
from lungseg.batch import manifest as manifest_module
from lungseg.batch import worker_pool as worker_pool_module
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.manifest import FolderInUse, Manifest
from lungseg.batch.plan import BatchSpec, ImageTask, plan_task
from lungseg.batch.worker_pool import TASK_STARTED, WorkerPool
from lungseg.model.models import load_models
from lungseg.pipeline.options import Options

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")

Make = Callable[[int], WorkerPool]


@dataclass(frozen=True)
class Deadly:
    """Formats that kill the process that asks for them, so many times; it keeps count in a file."""

    count: int
    file: Path

    def __iter__(self) -> Iterator[str]:
        with self.file.open("ab") as file:
            file.write(b".")
        if self.file.stat().st_size <= self.count:
            os.kill(os.getpid(), signal.SIGKILL)
        return iter(("mask",))


@pytest.fixture
def spec(tmp_path: Path, small: bytes) -> BatchSpec:
    """Of five small images."""
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    for number in range(5):
        (source / f"{number}.png").write_bytes(small)
    return BatchSpec(source, target, ("mask",), Options(), load_models().digests)


@pytest.fixture
def manifest(spec: BatchSpec) -> Iterator[Manifest]:
    manifest = Manifest(spec.target)
    yield manifest
    manifest.close()


@pytest.fixture
def make(spec: BatchSpec, manifest: Manifest) -> Iterator[Make]:
    """Makes workers, which are closed at the end."""
    made: list[WorkerPool] = []

    def make(count: int) -> WorkerPool:
        made.append(WorkerPool(spec, count, manifest.fileno()))
        return made[-1]

    yield make
    for workers in made:
        workers.close()
    assert not running()


def tasks_of(spec: BatchSpec, *numbers: int) -> list[ImageTask]:
    return [plan_task(f"{number}.png", None, spec, False) for number in numbers]


def deadly(spec: BatchSpec, number: int, count: int) -> ImageTask:
    """An image that kills ``count`` processes."""
    formats: Any = Deadly(count, spec.source.parent / f"{number}.deaths")
    return replace(tasks_of(spec, number)[0], formats=formats)


def outcomes(found: Iterator[Entry]) -> dict[str, str]:
    """Images in the spec in which they were finished, with the code of their failure."""
    return {entry.path: entry.outcome.code if isinstance(entry.outcome, Failure) else "" for entry in found}


def running() -> list[int]:
    """The workers below this process."""
    return workers_of(os.getpid())


def test_every_job_is_done_and_workers_stay_for_the_next_round(spec: BatchSpec, make: Make) -> None:
    workers = make(2)
    found = outcomes(workers.run(iter(tasks_of(spec, 0, 1, 2, 3))))
    assert set(found.items()) == {(f"{number}.png", "") for number in range(4)}
    first = running()
    assert len(first) == 2
    assert outcomes(workers.run(iter(tasks_of(spec, 4)))) == {"4.png": ""}
    assert running() == first
    workers.close()
    assert running() == []
    assert outcomes(workers.run(iter([]))) == {}
    # After they were closed, a round begins with a new one.
    assert outcomes(workers.run(iter(tasks_of(spec, 4)))) == {"4.png": ""}


def test_a_film_that_kills_its_process_once_is_not_lost(spec: BatchSpec, make: Make) -> None:
    found = outcomes(make(1).run(iter([deadly(spec, 0, 1), *tasks_of(spec, 1, 2)])))
    assert list(found.items()) == [("1.png", ""), ("2.png", ""), ("0.png", "")]
    assert (spec.target / "0.png.mask.png").exists()


def test_a_film_that_kills_it_twice_has_failed_and_no_other(spec: BatchSpec, make: Make) -> None:
    found = list(make(2).run(iter([deadly(spec, 0, 2), *tasks_of(spec, 1, 2)])))
    assert outcomes(iter(found)) == {"0.png": "internal-error", "1.png": "", "2.png": ""}
    (lost,) = [entry for entry in found if entry.path == "0.png"]
    assert lost.outcome == Failure("internal-error", "The process segmenting this image was killed, or took too long.")
    assert lost.mark.size == (spec.source / "0.png").stat().st_size
    assert (spec.target / "0.png.error.json").exists()
    assert (spec.source.parent / "0.deaths").stat().st_size == 2  # tried twice, no more


def test_a_process_that_dies_while_it_rests_costs_nothing(spec: BatchSpec, make: Make) -> None:
    workers = make(3)
    assert outcomes(workers.run(iter(tasks_of(spec, 0)))) == {"0.png": ""}
    (rested,) = running()  # no more of them than there are images
    os.kill(rested, signal.SIGKILL)
    wait_for(lambda: not alive(rested))
    found = outcomes(workers.run(iter(tasks_of(spec, 1, 2))))
    assert found == {"1.png": "", "2.png": ""}


def test_processes_of_another_model_than_the_runs_do_not_start(spec: BatchSpec, manifest: Manifest) -> None:
    workers = WorkerPool(replace(spec, models=("other", spec.models[1])), 1, manifest.fileno())
    with pytest.raises(errors.ModelError, match=r"A worker process could not start: .* Try fewer --workers"):
        list(workers.run(iter(tasks_of(spec, 0))))
    workers.close()
    assert not list(spec.target.glob("*.png"))


def test_closing_gives_up_what_is_in_work(spec: BatchSpec, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
    os.mkfifo(spec.source / "slow")  # an image that keeps its process waiting
    workers = make(2)
    found = workers.run(iter([plan_task("slow", None, spec, False), *tasks_of(spec, 0)]))
    assert next(found).path == "0.png"
    assert len(running()) == 2
    workers.close()
    assert running() == []


def test_time_to_load_the_models_is_not_the_images() -> None:
    worker = object.__new__(worker_pool_module._Worker)
    worker.busy_since, worker.sent_tasks, worker.started_tasks = 100.0, 1, 0
    assert worker.deadline(3) == 100 + worker_pool_module.START_TIMEOUT
    assert worker.deadline(600) == 700
    worker.started_tasks = 1
    assert worker.deadline(3) == 103


def test_another_run_is_kept_out_as_long_as_a_process_of_this_one_lives(
    spec: BatchSpec, make: Make, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = make(1)
    assert outcomes(workers.run(iter(tasks_of(spec, 0)))) == {"0.png": ""}
    manifest.close()  # as it is when the run itself is killed
    monkeypatch.setattr(manifest_module, "LOCK_PATIENCE", 0)
    with pytest.raises(FolderInUse):
        Manifest(spec.target)
    workers.close()
    Manifest(spec.target).close()


@pytest.mark.parametrize(("cores", "count", "each"), [(4, 2, 2), (4, 3, 1), (2, 8, 1), (5, 1, 5)])
def test_processes_share_the_cores(
    spec: BatchSpec, monkeypatch: pytest.MonkeyPatch, cores: int, count: int, each: int
) -> None:
    started: list[tuple[object, ...]] = []

    class Noted:
        """In place of a process."""

        def __init__(self, *arguments: object) -> None:
            started.append(arguments)

        def send(self, task: ImageTask) -> None:
            raise InterruptedError

    monkeypatch.setenv("LUNG_THREADS", str(cores))
    monkeypatch.setattr(worker_pool_module, "_Worker", Noted)
    with pytest.raises(InterruptedError):
        list(WorkerPool(spec, count, 7).run(iter(tasks_of(spec, 0))))
    assert started == [(spec, each, 7)]


def test_a_process_answers_that_it_begins_and_what_it_made(spec: BatchSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_THREADS", "1")
    ours, theirs = Pipe()
    ours.send(tasks_of(spec, 0)[0])
    ours.send(tasks_of(spec, 1)[0])
    ours.send(None)  # no task: it ends by an exception, of which nothing is said
    worker_pool_module._serve_tasks(theirs, spec, 2, -1)
    theirs.close()
    answers = [ours.recv() for _ in range(5)]
    assert [answers[0], answers[2], answers[4]] == [TASK_STARTED] * 3
    assert [answers[1].path, answers[3].path] == ["0.png", "1.png"]
    assert os.environ["LUNG_THREADS"] == "2"
    with pytest.raises((EOFError, ConnectionResetError)):
        ours.recv()


@pytest.mark.parametrize("changed", [0, 1])
def test_a_process_whose_models_were_replaced_takes_no_job(
    spec: BatchSpec, monkeypatch: pytest.MonkeyPatch, changed: int
) -> None:
    monkeypatch.setenv("LUNG_THREADS", "1")
    models = list(spec.models)
    models[changed] = "0" * 64
    ours, theirs = Pipe()
    ours.send(tasks_of(spec, 0)[0])
    worker_pool_module._serve_tasks(theirs, replace(spec, models=tuple(models)), 1, -1)
    theirs.close()
    with pytest.raises((EOFError, ConnectionResetError)):
        ours.recv()
