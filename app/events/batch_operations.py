"""Tasks of S3 Batch Operations.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

from app.buckets.keys import ImageLocation
from app.buckets.process import Outcome
from app.buckets.s3 import StoreError
from app.invocation import Invocation


def infer(event: dict[str, Any]) -> bool:
    """Return whether the event is a task of either schema version."""
    tasks = event.get("tasks")
    if "invocationSchemaVersion" not in event or not isinstance(tasks, list):
        return False
    return all(isinstance(task, dict) for task in tasks)


def handle(event: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
    """Process the tasks' images; the job's completion report shows the results."""
    return {
        "invocationSchemaVersion": event["invocationSchemaVersion"],
        "treatMissingKeysAs": "PermanentFailure",
        "invocationId": event.get("invocationId"),
        "results": [_process_task(task, invocation) for task in event["tasks"]],
    }


def _process_task(task: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
    try:
        # Schema version 1.0 has the bucket's ARN only.
        bucket = task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2]
        item = ImageLocation.parse(bucket, unquote_plus(task["s3Key"], errors="strict"))
    except (KeyError, TypeError, AttributeError, ValueError):
        code, text = "PermanentFailure", "the task names no object"
    else:
        code, text = _result_of(item, invocation)
    return {"taskId": task.get("taskId"), "resultCode": code, "resultString": text}


def _result_of(item: ImageLocation, invocation: Invocation) -> tuple[str, str]:
    try:
        report = invocation.process(item)
    except StoreError as error:
        return "TemporaryFailure", str(error)
    if report.outcome is Outcome.FAILED and report.problem:
        return "PermanentFailure", report.problem["code"]
    if report.outcome is Outcome.GONE:
        return "PermanentFailure", "gone"
    return "Succeeded", report.decision or str(report.outcome)
