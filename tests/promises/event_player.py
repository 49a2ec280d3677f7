"""Call the handler with many events, with LUNG_DOOR as in the environment, and judge each response.

`python tests/promises/event_player.py IMAGE SEED COUNT FIRST STEP` plays every STEP-th of COUNT events, starting at
FIRST, and prints as JSON what was tried and what broke the promise.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import boto3
from buckets import Context
from event_shapes import (
    BUCKET,
    CANARY,
    GOOD,
    KEY,
    Case,
    bodies,
    each_member_wrong,
    headers,
    is_http,
    many_and_mixed,
    originals,
    several_wrong,
)
from moto import mock_aws

from app.buckets.s3 import StoreError
from app.events.distributed_map import UnfinishedBatch
from app.invocation import UnsupportedEvent
from lungseg import errors

DECLARED = (UnsupportedEvent, StoreError, UnfinishedBatch)
"""What the handler may raise in a correct environment: Lambda reports it, and the event source retries."""

STATUS = {kind.code: kind.status for kind in errors.every_problem()} | {"not-found": 404, "method-not-allowed": 405}
TELLING = {"requestContext", "resource", "version"}
"""Members that identify an HTTP event."""
NEVER = {"internal-error", "model-unavailable", "storage-unavailable", "jobs-unavailable", "overloaded"}
"""Errors that blame the service."""

READ = {
    "body",
    "cookies",
    "headers",
    "httpMethod",
    "isBase64Encoded",
    "multiValueHeaders",
    "multiValueQueryStringParameters",
    "path",
    "pathParameters",
    "queryStringParameters",
    "rawQueryString",
    "requestContext",
    "resource",
    "version",
}
"""Members of HTTP events that the response depends on."""

SLOWEST = 5.0
"""Seconds of processor time for one event."""


def main(image: bytes, seed: int, count: int, first: int, step: int) -> None:
    """Play a part of ``count`` events; ``image`` is a valid image that is segmented quickly."""
    with mock_aws():
        client = boto3.client("s3")
        place = {"LocationConstraint": "eu-west-1"}
        for bucket in (BUCKET, os.environ["LUNG_OUTPUT_BUCKET"]):
            client.create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        client.put_object(Bucket=BUCKET, Key=KEY, Body=b"no image")
        client.put_object(Bucket=BUCKET, Key="in/a+b.dcm", Body=b"no image")
        client.put_object(Bucket=BUCKET, Key=GOOD, Body=image)
        print(json.dumps(play(islice(cases(image, seed, count), first, None, step))))


def cases(image: bytes, seed: int, count: int) -> Iterator[Case]:
    """Return all cases in random order, or a sample if there are more than ``count``."""
    known = [*chain(each_member_wrong(), bodies(image), headers(), many_and_mixed())]
    random.Random(seed).shuffle(known)
    yield from islice(chain(known, several_wrong(seed)), count)


def play(cases: Iterator[Case]) -> dict[str, Any]:
    """Call the handler with each case."""
    import serverless

    log = io.StringIO()
    logging.basicConfig(level=logging.INFO, stream=log)  # as Lambda does with LogFormat JSON
    expected = {name: answer(serverless.handler, Case(name, "", event))[0] for name, event in originals().items()}
    broken: list[str] = []
    kinds: Counter[str] = Counter()
    slowest, number = (0.0, ""), 0
    for case in cases:
        number += 1
        log.truncate(log.seek(0))
        began = time.process_time()
        found, said = answer(serverless.handler, case)
        slowest = max(slowest, (time.process_time() - began, f"{case.name}, {case.change}"))
        kinds[kind_of(found)] += 1
        wrong = judge(case, found, expected[case.name])
        if CANARY in said or CANARY in log.getvalue():
            wrong = "a log quotes the event"
        if wrong:
            broken.append(f"{case.name}, {case.change}: {wrong}")
    if slowest[0] > SLOWEST:
        broken.append(f"{slowest[1]}: it took {slowest[0]:.1f} s")
    return {"tried": number, "broken": broken, "kinds": kinds, "slowest": slowest[0], "door": os.environ["LUNG_DOOR"]}


def answer(handler: Any, case: Case) -> tuple[Any, str]:
    """Return what the handler returned or raised, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            found = handler(case.event, Context(case.milliseconds))
        except Exception as error:
            found = error
    return found, printed.getvalue()


def kind_of(found: Any) -> str:
    """Return a name for the outcome of an event."""
    if isinstance(found, Exception):
        return type(found).__name__
    if "statusCode" in found:
        return f"HTTP {found['statusCode']}"
    return next((name for name in ("batchItemFailures", "results", "Items", "status") if name in found), "counts")


def judge(case: Case, found: Any, expected: Any) -> str | None:
    """Return what is wrong with a response; None if nothing is.

    Args:
        expected: the response to the unchanged event.
    """
    if isinstance(found, Exception):
        if not isinstance(found, DECLARED):
            return f"{type(found).__name__} was raised"
        if CANARY in str(found) or found.__cause__ or (not found.__suppress_context__ and found.__context__):
            return "the error quotes the event, or drags another along"
        if is_http(case.name) and case.place and case.place[0] not in TELLING:
            return f"{type(found).__name__} was raised for a request"
        return None
    json.dumps(found)
    wrong = None
    if "statusCode" in found:
        wrong = _judge_http(case, found)
    elif "batchItemFailures" in found:
        wrong = _judge_queue(case, found)
    elif "results" in found:
        wrong = _judge_tasks(case, found)
    elif "Items" in found:
        known = all(item in case.event["Items"] for item in found["Items"])
        wrong = None if known and isinstance(found["attempt"], int) else "items that were none"
    elif "status" in found:
        good = found["status"] == "done" or STATUS[found["problem"]["code"]] == found["problem"]["status"]
        wrong = None if good and CANARY not in str(found.get("problem")) else "a problem that is none"
    elif not all(isinstance(number, int) for number in found.values()):
        wrong = "counts that are none"
    unread = case.place and is_http(case.name) and case.place[0] not in READ
    if not wrong and unread and _gist(found) != _gist(expected):
        return "it depends on a member that is not read"
    return wrong


def _gist(found: Any) -> Any:
    """Return a response without the parts that differ each time."""
    return kind_of(found), json.loads(found["body"]).get("code")


def _judge_http(case: Case, found: dict[str, Any]) -> str | None:
    body, many = found["body"], found.get("multiValueHeaders")
    if not isinstance(body, str) or not isinstance(found["isBase64Encoded"], bool):
        return "an answer that no gateway takes"
    if many is not None and not all(isinstance(value, list) for value in many.values()):
        return "headers that no gateway takes"
    single = {name: values[0] for name, values in (many or {}).items()} | found.get("headers", {})
    if CANARY in str(single):
        return "a header quotes the event"
    if case.status is not None and found["statusCode"] != case.status:
        return f"{found['statusCode']} instead of {case.status}"
    if found["statusCode"] < 400:
        return None
    if single["content-type"] != errors.PROBLEM_MEDIA_TYPE or found["isBase64Encoded"]:
        return "a refusal that is no problem document"
    problem = json.loads(body) if body else {"code": "not-found"}
    if CANARY in body:
        return "a problem document quotes the event"
    if body and (STATUS.get(problem["code"]), found["statusCode"]) != (problem["status"], problem["status"]):
        return f"{problem['code']} is no known refusal of status {found['statusCode']}"
    if problem["code"] in NEVER or case.code not in (None, problem["code"]):
        return f"{problem['code']} instead of {case.code}"
    return None


def _judge_queue(case: Case, found: dict[str, Any]) -> str | None:
    records, original = case.event["Records"], originals()[case.name].get("Records", [])
    failed = [each["itemIdentifier"] for each in found["batchItemFailures"]]
    known = [record.get("messageId") for record in records]
    if not all(isinstance(each, str) and each in known for each in failed):
        return "failures of messages that were none"
    if case.milliseconds != 60_000 or case.place is None:
        return None
    untouched = [record["messageId"] for record in records if record in original]
    return "a message failed with which nothing is wrong" if set(failed) & set(untouched) else None


def _judge_tasks(case: Case, found: dict[str, Any]) -> str | None:
    for task, result in zip(case.event["tasks"], found["results"], strict=True):
        if repr(result["taskId"]) != repr(task.get("taskId")) or not isinstance(result["resultString"], str):
            return "a result of no task"
        if result["resultCode"] not in ("Succeeded", "TemporaryFailure", "PermanentFailure"):
            return "a result that S3 does not know"
        if CANARY in result["resultString"]:
            return "a result quotes the task"
    return None


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_bytes(), *map(int, sys.argv[2:]))
