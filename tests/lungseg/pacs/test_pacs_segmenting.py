"""The process that segments a node's images, and what becomes of an image that it cannot finish."""

from __future__ import annotations

import io
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dicom_nodes import chest_image
from films import STRIPES8, dicom
from pydicom.dataset import Dataset

from lungseg.pacs import image_worker, segment_process
from lungseg.pacs.canonical_file import dataset_start
from lungseg.pacs.image_worker import ImageWorker
from lungseg.pacs.node_parts import NodeParts
from lungseg.pacs.queue_report import read_report
from lungseg.pacs.segment_process import ImageOrder, ImageOutcome, SegmentProcess, make_results
from lungseg.pacs.spool import NodeSpool


def queue_file(folder: Path, image: Dataset | bytes, key: str = "key") -> ImageOrder:
    """Put an image into a spool; return the order to segment it."""
    spool = NodeSpool(folder)
    if isinstance(image, Dataset):
        buffer = io.BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        image = buffer.getvalue()
    spool.image_path(key).write_bytes(image)
    return ImageOrder(folder, key, ("dicom-seg",), sends_rejected=False)


@pytest.fixture
def process() -> Iterator[SegmentProcess]:
    started = SegmentProcess(1)
    yield started
    started.end()


def test_process_that_dies_or_hangs_is_replaced(process: SegmentProcess, tmp_path: Path) -> None:
    order = queue_file(tmp_path, chest_image())
    assert [each.format_name for each in process.segment_image(order, 60).results] == ["dicom-seg"]
    assert process._process is not None
    os.kill(process._process.pid or 0, signal.SIGSTOP)
    assert process.segment_image(order, 0.2).failure == "timed-out"
    assert process.segment_image(order, 60).results
    os.kill(process._process.pid or 0, signal.SIGKILL)
    assert process.segment_image(order, 60).failure == "process-died"


def test_same_image_gives_the_same_objects_whoever_wrote_its_header(tmp_path: Path) -> None:
    image = chest_image()
    first = make_results(queue_file(tmp_path / "a", image))
    image.file_meta.ImplementationVersionName = "OTHER"
    image.file_meta.ImplementationClassUID = "1.2.3"
    second = make_results(queue_file(tmp_path / "b", image))
    assert first.results == second.results
    files = [(tmp_path / name / "results" / "key.dicom-seg.dcm").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_rejected_image_is_sent_only_on_request(tmp_path: Path) -> None:
    order = queue_file(tmp_path, dicom(STRIPES8))
    assert make_results(order).left_alone.startswith("rejected-")
    assert list((tmp_path / "results").iterdir()) == []
    outcome = make_results(replace(order, sends_rejected=True, formats=("dicom-seg", "dicom-sr")))
    assert outcome.decision == "reject"
    assert outcome.left_alone in {"no-lung", ""}


@pytest.mark.parametrize("kept", [0, 10, 3000])
def test_broken_data_set_is_left_alone(tmp_path: Path, kept: int) -> None:
    """The file header is the receiver's own; the rest is what a peer sent."""
    order = queue_file(tmp_path, chest_image())
    path = NodeSpool(tmp_path).image_path("key")
    whole = path.read_bytes()
    path.write_bytes(whole[: dataset_start(whole) + kept] + b"\1" * 400 * bool(kept))
    outcome = make_results(order)
    assert outcome.left_alone in {"damaged-film", "unsupported-dicom"}
    assert not outcome.failure


def test_missing_file_and_full_disk_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = queue_file(tmp_path, chest_image())

    def fail(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(segment_process, "write_durably", fail)
    assert make_results(order).failure == "disk-error"
    NodeSpool(tmp_path).image_path("key").unlink()
    assert make_results(order).failure == "disk-error"


def test_image_that_keeps_failing_is_a_dead_letter(
    make_parts: Callable[..., NodeParts], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_worker, "retry_pause", lambda tries: 0.0)
    parts = make_parts(max_tries=2)
    parts.images.add_image("key")
    worker = ImageWorker(parts, 1)
    monkeypatch.setattr(worker._process, "segment_image", lambda *_: ImageOutcome(failure="process-died"))
    assert [worker.process_next() for _ in range(3)] == [True, True, False]
    (letter,) = read_report(parts.database).dead_letters
    assert (letter.reason, letter.tries) == ("process-died", 2)


def test_image_that_kills_the_node_is_a_dead_letter(make_parts: Callable[..., NodeParts]) -> None:
    parts = make_parts()
    parts.images.add_image("key")
    for _ in range(3):
        assert parts.images.claim_image() is not None
        parts.database.recover(max_tries=3)
    assert [each.reason for each in read_report(parts.database).dead_letters] == ["interrupted"]
