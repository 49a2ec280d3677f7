"""Tasks of S3 Batch Operations."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from app.buckets.keys import Item
from app.buckets.process import Outcome
from app.buckets.s3 import StoreError
from app.invocation import Run


def infer(event: dict[str, Any]) -> bool:
    """A task, of either version of the schema."""
    tasks = event.get("tasks")
    if "invocationSchemaVersion" not in event or not isinstance(tasks, list):
        return False
    return all(isinstance(task, dict) for task in tasks)


def handle(event: dict[str, Any], run: Run) -> dict[str, Any]:
    """Do the tasks' images; the results are what the job's completion report shows of each."""
    return {
        "invocationSchemaVersion": event["invocationSchemaVersion"],
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": event.get("invocationId"),
        "results": [_result(task, run) for task in event["tasks"]],
    }


def _result(task: dict[str, Any], run: Run) -> dict[str, Any]:
    try:
        # Version 1.0 names the bucket by its ARN alone.
        bucket = task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2]
        item = Item.named(bucket, unquote_plus(task["s3Key"], errors="strict"))
    except (KeyError, TypeError, AttributeError, ValueError):
        code, text = "PermanentFailure", "the task names no object"
    else:
        code, text = _done(item, run)
    return {"taskId": task.get("taskId"), "resultCode": code, "resultString": text}


def _done(item: Item, run: Run) -> tuple[str, str]:
    try:
        report = run(item)
    except StoreError as error:
        return "TemporaryFailure", str(error)
    if report.outcome is Outcome.FAILED and report.problem:
        return "PermanentFailure", report.problem["code"]
    if report.outcome is Outcome.GONE:
        return "PermanentFailure", "gone"
    return "Succeeded", report.decision or str(report.outcome)
