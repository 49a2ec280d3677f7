"""How a DICOM node gets its results into a PACS that refuses, falls silent, or dies: once each, and none is lost."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dicom_nodes import SmallPacs, chest_image, small_pacs
from processes import wait_for
from pydicom.uid import EncapsulatedPDFStorage, generate_uid

from lungseg.pacs import commitment, node_parts
from lungseg.pacs.commitment import record_report
from lungseg.pacs.destination import Destination
from lungseg.pacs.image_queue import MadeResult
from lungseg.pacs.node_config import RemoteNode
from lungseg.pacs.node_parts import NodeParts
from lungseg.pacs.queue_report import read_report, revive_letters
from lungseg.pacs.sender import ResultSender
from lungseg.pacs.spool import write_durably


@pytest.fixture
def pacs() -> Iterator[SmallPacs]:
    with small_pacs() as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pauses end at once."""
    for module in ("sender", "commitment", "image_worker"):
        monkeypatch.setattr(f"lungseg.pacs.{module}.retry_pause", lambda tries: 0.0)


def add_result(parts: NodeParts, **elements: Any) -> str:
    """Queue an image with a result; return the result's UID. Any object serves as one."""
    dataset = chest_image(**elements)
    key = generate_uid()
    parts.images.add_image(key)
    image = parts.images.claim_image()
    assert image is not None
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    write_durably(parts.spool.result_path(key, "dicom-seg"), buffer.getvalue())
    parts.spool.image_path(key).write_bytes(b"the image")
    parts.images.add_results(image, [MadeResult("dicom-seg", dataset.SOPClassUID, dataset.SOPInstanceUID)])
    return str(dataset.SOPInstanceUID)


def sender_of(parts: NodeParts) -> ResultSender:
    return ResultSender(parts, Destination(parts.config))


def parts_for(make_parts: Callable[..., NodeParts], pacs: SmallPacs, **choices: Any) -> NodeParts:
    return make_parts(destination=RemoteNode("PACS", "127.0.0.1", pacs.port), **choices)


def files_of(parts: NodeParts) -> list[str]:
    return [path.name for path in parts.config.folder.rglob("*.dcm")]


def test_results_are_sent_once_and_files_deleted(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs)
    uids = [add_result(parts) for _ in range(3)]
    sender = sender_of(parts)
    assert sender.send_batch()
    assert not sender.send_batch()
    assert dict(pacs.received) == dict.fromkeys(uids, 1)
    assert read_report(parts.database).images == {"done": 3}
    assert files_of(parts) == []


def test_warning_counts_as_stored(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs)
    pacs.answer = lambda _: 0xB000
    add_result(parts)
    sender_of(parts).send_batch()
    assert read_report(parts.database).results == {"done": 1}


def test_refused_result_is_retried_then_dead_then_revived(
    make_parts: Callable[..., NodeParts], pacs: SmallPacs
) -> None:
    parts = parts_for(make_parts, pacs, max_tries=3)
    uid = add_result(parts)
    pacs.answer = lambda _: 0xA900
    sender = sender_of(parts)
    for _ in range(5):
        sender.send_batch()
    assert pacs.received == {uid: 3}
    (letter,) = read_report(parts.database).dead_letters
    assert (letter.number, letter.format_name, letter.reason, letter.tries) == (1, "dicom-seg", "refused-a900", 3)
    assert len(files_of(parts)) == 2
    pacs.answer = lambda _: 0
    assert revive_letters(parts.database, 2) == 0
    assert revive_letters(parts.database, 1) == 1
    sender.send_batch()
    assert list(pacs.stored) == [uid]
    assert read_report(parts.database).dead_letters == []
    assert files_of(parts) == []


def test_class_that_is_not_accepted_is_dead_alone(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs, max_tries=1)
    add_result(parts, SOPClassUID=EncapsulatedPDFStorage)
    good = add_result(parts)
    sender_of(parts).send_batch()
    assert list(pacs.stored) == [good]
    assert [each.reason for each in read_report(parts.database).dead_letters] == ["class-not-accepted"]


def test_unreachable_destination_uses_up_no_tries(make_parts: Callable[..., NodeParts]) -> None:
    with small_pacs() as gone:
        port = gone.port
    parts = make_parts(destination=RemoteNode("PACS", "127.0.0.1", port), max_tries=1)
    uid = add_result(parts)
    sender = sender_of(parts)
    for _ in range(3):
        sender.send_batch()
    assert sender.failed_connections == 3
    assert read_report(parts.database).results == {"waiting": 1}
    with small_pacs(port) as back:
        sender.send_batch()
        assert back.received == {uid: 1}
    assert sender.failed_connections == 0


@pytest.mark.parametrize("finds", [True, False])
def test_result_that_was_stored_before_a_crash(make_parts: Callable[..., NodeParts], finds: bool) -> None:
    """The node is killed after the PACS stored a result, before it has recorded that."""
    with small_pacs(finds=finds) as pacs:
        parts = parts_for(make_parts, pacs)
        uid = add_result(parts)
        real = parts.results.store_result
        parts.results.store_result = None  # type: ignore[method-assign, assignment]
        with pytest.raises(TypeError):
            sender_of(parts).send_batch()
        parts.results.store_result = real  # type: ignore[method-assign]
        assert read_report(parts.database).results == {"sending": 1}
        parts.database.recover(max_tries=8)
        sender_of(parts).send_batch()
        # Without C-FIND it is sent again, with the same UID: the PACS has it once.
        assert pacs.received == {uid: 1 if finds else 2}
        assert list(pacs.stored) == [uid]
        assert read_report(parts.database).results == {"done": 1}


def test_lost_answer_is_looked_up(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs)
    uid = add_result(parts)

    def store_and_hang_up(event: Any) -> int:
        pacs.stored[uid] = event.dataset
        event.assoc.abort()
        return 0

    pacs.answer = store_and_hang_up
    sender = sender_of(parts)
    sender.send_batch()
    assert read_report(parts.database).results == {"unsure": 1}
    sender.send_batch()
    assert pacs.received == {uid: 1}
    assert read_report(parts.database).results == {"done": 1}


def test_lost_file_is_a_dead_letter(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs, max_tries=1)
    add_result(parts)
    for path in (parts.config.folder / "results").iterdir():
        path.unlink()
    sender_of(parts).send_batch()
    assert [each.reason for each in read_report(parts.database).dead_letters] == ["file-unreadable"]


def test_files_are_kept_until_commitment(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs, commits=True)
    uids = [add_result(parts), add_result(parts)]
    reports = []
    pacs.report = reports.append
    sender_of(parts).send_batch()
    assert read_report(parts.database).results == {"asked": 2}
    assert len(files_of(parts)) == 4
    wait_for_report(reports)
    record_report(parts, reports[0])
    assert read_report(parts.database).images == {"done": 2}
    assert files_of(parts) == []
    assert dict(pacs.received) == dict.fromkeys(uids, 1)


def test_result_without_commitment_is_sent_again(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs, commits=True)
    good, lost = add_result(parts), add_result(parts)
    reports: list[Any] = []
    pacs.report, pacs.lacks = reports.append, {lost}
    sender = sender_of(parts)
    sender.send_batch()
    wait_for_report(reports)
    record_report(parts, reports.pop())
    assert read_report(parts.database).results == {"done": 1, "waiting": 1}
    pacs.lacks.clear()
    sender.send_batch()
    wait_for_report(reports)
    record_report(parts, reports.pop())
    assert read_report(parts.database).results == {"done": 2}
    assert pacs.received == {good: 1, lost: 2}


def test_missing_report_is_asked_for_again(
    make_parts: Callable[..., NodeParts], pacs: SmallPacs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commitment, "REPORT_SECONDS", 0.0)
    parts = parts_for(make_parts, pacs, commits=True, max_tries=3)
    uid = add_result(parts)
    sender = sender_of(parts)
    for _ in range(5):
        sender.send_batch()
    assert pacs.received == {uid: 1}
    (letter,) = read_report(parts.database).dead_letters
    assert (letter.reason, letter.tries) == ("no-report", 3)


def test_commitment_is_asked_for_again_after_a_crash(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs, commits=True)
    uid = add_result(parts)
    reports: list[Any] = []
    pacs.report = reports.append  # the node is down when the report comes
    sender_of(parts).send_batch()
    parts.database.recover(max_tries=8)
    sender_of(parts).send_batch()
    wait_for(lambda: len(reports) == 2, 10)
    record_report(parts, reports[0])
    assert read_report(parts.database).results == {"asked": 1}
    record_report(parts, reports[1])
    assert read_report(parts.database).results == {"done": 1}
    assert pacs.received == {uid: 1}


def test_report_of_unknown_request_changes_nothing(make_parts: Callable[..., NodeParts], pacs: SmallPacs) -> None:
    parts = parts_for(make_parts, pacs, commits=True)
    add_result(parts)
    reports: list[Any] = []
    pacs.report = reports.append
    sender_of(parts).send_batch()
    wait_for_report(reports)
    reports[0].TransactionUID = generate_uid()
    record_report(parts, reports[0])
    assert read_report(parts.database).results == {"asked": 1}


def test_pauses_grow_to_five_minutes() -> None:
    for tries, longest in {1: 1.0, 2: 2.0, 5: 16.0, 9: 256.0, 10: 300.0, 1000: 300.0}.items():
        pauses = [node_parts.retry_pause(tries) for _ in range(50)]
        assert longest / 2 <= min(pauses) <= max(pauses) <= longest
        assert len(set(pauses)) > 1


def wait_for_report(reports: list[Any]) -> None:
    wait_for(lambda: reports, 10)
