"""Storage commitment (PS3.4 annex J): the destination is asked to confirm that it keeps what it stored."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from lungseg.pacs.node_parts import NodeParts, node_log, retry_pause
from lungseg.pacs.result_queue import QueuedResult

REPORT_SECONDS = 900.0
"""How long the destination has for its report, before it is asked again."""

REQUEST_ACTION = 1
"""Action Type ID of a request (PS3.4 table J.3-1)."""


def request_commitment(parts: NodeParts, assoc: Association, results: Sequence[QueuedResult]) -> None:
    """Ask for the commitment of results. Their report comes later, on an association of the destination's.

    Raises:
        ValueError: the destination did not accept the presentation context.
    """
    request = generate_uid(prefix=None)
    # On the disk first: the report may come before the answer.
    parts.results.ask_commitment(results, request, REPORT_SECONDS)
    information = Dataset()
    information.TransactionUID = request
    information.ReferencedSOPSequence = [_reference(each) for each in results]
    status, _ = assoc.send_n_action(
        information, REQUEST_ACTION, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
    )
    if status and status.Status == 0:
        return
    reason = f"commitment-refused-{status.Status:04x}" if status else "no-answer"
    for each in results:
        repeat_later(parts, each, reason)


def repeat_later(parts: NodeParts, result: QueuedResult, reason: str) -> None:
    """Ask again for the commitment of a result, after a pause, or give up."""
    parts.metrics.failures.labels(reason).inc()
    pause = retry_pause(result.tries + 1)
    if parts.results.repeat_request(result, reason, pause, parts.config.max_tries):
        parts.metrics.dead.labels(reason).inc()
        node_log.error("image %d: %s given up (%s)", result.number, result.format_name, reason)


def repeat_overdue(parts: NodeParts) -> None:
    """Ask again for the commitment of results whose report did not come."""
    for each in parts.results.overdue_results():
        repeat_later(parts, each, "no-report")


def record_report(parts: NodeParts, report: Dataset) -> None:
    """Record a report: what is committed is done, what the destination does not have is sent again.

    Raises:
        Exception: the report is malformed; of any type.
    """
    committed = {UID(item.ReferencedSOPInstanceUID) for item in report.get("ReferencedSOPSequence") or ()}
    failed = {
        UID(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
        for item in report.get("FailedSOPSequence") or ()
    }
    for each in parts.results.read_request(str(report.TransactionUID)):
        if each.instance_uid in failed:
            reason = f"not-committed-{failed[UID(each.instance_uid)]:04x}"
            parts.metrics.failures.labels(reason).inc()
            if parts.results.refuse_result(each, reason, retry_pause(each.tries + 1), parts.config.max_tries):
                parts.metrics.dead.labels(reason).inc()
                node_log.error("image %d: %s given up (%s)", each.number, each.format_name, reason)
        elif each.instance_uid in committed:
            parts.metrics.committed.labels(each.format_name).inc()
            if parts.results.store_result(each, needs_commit=False):
                parts.spool.remove_image(each.key)


def _reference(result: QueuedResult) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = result.class_uid
    item.ReferencedSOPInstanceUID = result.instance_uid
    return item
