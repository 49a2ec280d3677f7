"""Worker processes: how they share the work, and what is lost when one of them dies."""

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
from lungseg.batch import folder_lock
from lungseg.batch import worker_pool as worker_pool_module
from lungseg.batch.entry import Entry, Failure
from lungseg.batch.folder_lock import FolderInUse
from lungseg.batch.manifest import Manifest
from lungseg.batch.plan import BatchSpec, ImageTask, plan_task
from lungseg.batch.worker_pool import TASK_STARTED, WorkerPool
from lungseg.model.models import load_models
from lungseg.pipeline.options import Options

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds worker processes through /proc")

MakePool = Callable[[int], WorkerPool]


@dataclass(frozen=True)
class KillingFormats:
    """Formats that kill the first ``count`` processes that iterate over them; a file keeps count."""

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
    """For five small images."""
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
def make_pool(spec: BatchSpec, manifest: Manifest) -> Iterator[MakePool]:
    """Returns a function that makes pools, which are closed at the end."""
    pools: list[WorkerPool] = []

    def make_pool(count: int) -> WorkerPool:
        pools.append(WorkerPool(spec, count, manifest.descriptors))
        return pools[-1]

    yield make_pool
    for pool in pools:
        pool.close()
    assert not worker_pids()


def tasks_of(spec: BatchSpec, *numbers: int) -> list[ImageTask]:
    return [plan_task(f"{number}.png", None, spec, False) for number in numbers]


def killing_task(spec: BatchSpec, number: int, count: int) -> ImageTask:
    """Return a task that kills ``count`` processes."""
    formats: Any = KillingFormats(count, spec.source.parent / f"{number}.deaths")
    return replace(tasks_of(spec, number)[0], formats=formats)


def outcomes(found: Iterator[Entry]) -> dict[str, str]:
    """Return the codes of the failures by path, in the order in which the images were finished."""
    return {entry.path: entry.outcome.code if isinstance(entry.outcome, Failure) else "" for entry in found}


def worker_pids() -> list[int]:
    """Return the workers of this process."""
    return workers_of(os.getpid())


def test_every_task_is_done_and_workers_are_reused(spec: BatchSpec, make_pool: MakePool) -> None:
    pool = make_pool(2)
    found = outcomes(pool.run(iter(tasks_of(spec, 0, 1, 2, 3))))
    assert set(found.items()) == {(f"{number}.png", "") for number in range(4)}
    first = worker_pids()
    assert len(first) == 2
    assert outcomes(pool.run(iter(tasks_of(spec, 4)))) == {"4.png": ""}
    assert worker_pids() == first
    pool.close()
    assert worker_pids() == []
    assert outcomes(pool.run(iter([]))) == {}
    # A closed pool starts new workers.
    assert outcomes(pool.run(iter(tasks_of(spec, 4)))) == {"4.png": ""}


def test_image_that_kills_its_process_once_is_retried(spec: BatchSpec, make_pool: MakePool) -> None:
    found = outcomes(make_pool(1).run(iter([killing_task(spec, 0, 1), *tasks_of(spec, 1, 2)])))
    assert list(found.items()) == [("1.png", ""), ("2.png", ""), ("0.png", "")]
    assert (spec.target / "0.png.mask.png").exists()


def test_image_that_kills_its_process_twice_fails_alone(spec: BatchSpec, make_pool: MakePool) -> None:
    found = list(make_pool(2).run(iter([killing_task(spec, 0, 2), *tasks_of(spec, 1, 2)])))
    assert outcomes(iter(found)) == {"0.png": "internal-error", "1.png": "", "2.png": ""}
    (lost,) = [entry for entry in found if entry.path == "0.png"]
    assert lost.outcome == Failure("internal-error", "The process segmenting this image was killed, or took too long.")
    assert lost.mark.size == (spec.source / "0.png").stat().st_size
    assert (spec.target / "0.png.error.json").exists()
    assert (spec.source.parent / "0.deaths").stat().st_size == 2  # tried twice, no more


def test_death_of_an_idle_process_loses_nothing(spec: BatchSpec, make_pool: MakePool) -> None:
    pool = make_pool(3)
    assert outcomes(pool.run(iter(tasks_of(spec, 0)))) == {"0.png": ""}
    (idle,) = worker_pids()  # no more workers than images
    os.kill(idle, signal.SIGKILL)
    wait_for(lambda: not alive(idle))
    found = outcomes(pool.run(iter(tasks_of(spec, 1, 2))))
    assert found == {"1.png": "", "2.png": ""}


def test_workers_with_another_model_do_not_start(spec: BatchSpec, manifest: Manifest) -> None:
    pool = WorkerPool(replace(spec, models=("other", spec.models[1])), 1, manifest.descriptors)
    with pytest.raises(errors.ModelError, match=r"A worker process could not start: .* Try fewer --workers"):
        list(pool.run(iter(tasks_of(spec, 0))))
    pool.close()
    assert not list(spec.target.glob("*.png"))


def test_close_abandons_current_images(spec: BatchSpec, make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", SLOW_FILES)
    os.mkfifo(spec.source / "slow")  # an image that blocks its worker
    pool = make_pool(2)
    found = pool.run(iter([plan_task("slow", None, spec, False), *tasks_of(spec, 0)]))
    assert next(found).path == "0.png"
    assert len(worker_pids()) == 2
    pool.close()
    assert worker_pids() == []


def test_time_limit_excludes_loading_the_models() -> None:
    worker = object.__new__(worker_pool_module._Worker)
    worker.busy_since, worker.sent_tasks, worker.started_tasks = 100.0, 1, 0
    assert worker.deadline(3) == 100 + worker_pool_module.START_TIMEOUT
    assert worker.deadline(600) == 700
    worker.started_tasks = 1
    assert worker.deadline(3) == 103


def test_lock_is_held_until_the_last_worker_ends(
    spec: BatchSpec, make_pool: MakePool, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1)
    assert outcomes(pool.run(iter(tasks_of(spec, 0)))) == {"0.png": ""}
    manifest.close()  # as if the run itself were killed
    monkeypatch.setattr(folder_lock, "LOCK_PATIENCE", 0)
    with pytest.raises(FolderInUse):
        Manifest(spec.target)
    pool.close()
    Manifest(spec.target).close()


@pytest.mark.parametrize(("cores", "count", "each"), [(4, 2, 2), (4, 3, 1), (2, 8, 1), (5, 1, 5)])
def test_workers_share_the_cores(
    spec: BatchSpec, monkeypatch: pytest.MonkeyPatch, cores: int, count: int, each: int
) -> None:
    started: list[tuple[object, ...]] = []

    class FakeWorker:
        """Stands in for a worker process."""

        def __init__(self, *arguments: object) -> None:
            started.append(arguments)

        def send(self, task: ImageTask) -> None:
            raise InterruptedError

    monkeypatch.setenv("LUNG_THREADS", str(cores))
    monkeypatch.setattr(worker_pool_module, "_Worker", FakeWorker)
    with pytest.raises(InterruptedError):
        list(WorkerPool(spec, count, (7,)).run(iter(tasks_of(spec, 0))))
    assert started == [(spec, each, (7,))]


def test_worker_answers_when_it_starts_and_finishes_a_task(spec: BatchSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNG_THREADS", "1")
    ours, theirs = Pipe()
    ours.send(tasks_of(spec, 0)[0])
    ours.send(tasks_of(spec, 1)[0])
    ours.send(None)  # not a task: the worker ends with an exception, and prints nothing
    worker_pool_module._serve_tasks(theirs, spec, 2, ())
    theirs.close()
    answers = [ours.recv() for _ in range(5)]
    assert [answers[0], answers[2], answers[4]] == [TASK_STARTED] * 3
    assert [answers[1].path, answers[3].path] == ["0.png", "1.png"]
    assert os.environ["LUNG_THREADS"] == "2"
    with pytest.raises((EOFError, ConnectionResetError)):
        ours.recv()


@pytest.mark.parametrize("changed", [0, 1])
def test_worker_whose_models_were_replaced_takes_no_task(
    spec: BatchSpec, monkeypatch: pytest.MonkeyPatch, changed: int
) -> None:
    monkeypatch.setenv("LUNG_THREADS", "1")
    models = list(spec.models)
    models[changed] = "0" * 64
    ours, theirs = Pipe()
    ours.send(tasks_of(spec, 0)[0])
    worker_pool_module._serve_tasks(theirs, replace(spec, models=tuple(models)), 1, ())
    theirs.close()
    with pytest.raises((EOFError, ConnectionResetError)):
        ours.recv()
