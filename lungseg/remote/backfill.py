"""Backfill a bucket with a stack's state machine: list a prefix, start an execution, follow it to its end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lungseg.remote import errors
from lungseg.remote.aws import Stack, aws_client, aws_errors
from lungseg.remote.cost import (
    DEFAULT_ARCHITECTURE,
    DEFAULT_BATCH,
    DEFAULT_CONCURRENCY,
    MB_PER_CORE,
    BackfillSettings,
    PrefixListing,
)
from lungseg.remote.errors import RemoteError
from lungseg.remote.image_source import progress_bar
from lungseg.terminal import escape_name

RUNNING_STATES = ("RUNNING", "PENDING_REDRIVE")

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 1.0, 10.0
"""Seconds between two polls of an execution, which runs for minutes or hours."""

FAILED_STATES = ("failed", "timedOut", "aborted")


@dataclass(frozen=True)
class ExecutionResult:
    """The result of an execution.

    Attributes:
        status: as Step Functions names it, such as "SUCCEEDED".
        error: name of the error that stopped it; empty if none did.
        items: items of its map run by state.
        counts: images by outcome, if its reports can be read.
    """

    status: str
    error: str = ""
    items: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether every image is done."""
        failed = sum(self.items[name] for name in FAILED_STATES) + self.counts.get("failed", 0)
        return self.status == "SUCCEEDED" and not failed

    def summary_line(self) -> str:
        """Return the result as one line."""
        items = ", ".join(f"{self.items[name]:,} {name}" for name in ("succeeded", *FAILED_STATES) if self.items[name])
        images = ", ".join(f"{number:,} {name}" for name, number in self.counts.items())
        parts = [f"items: {items or 'none'}"] + ([f"images: {images}"] if images else [])
        error = f" ({escape_name(self.error)})" if self.error else ""
        return f"backfill: {self.status.lower()}{error}; {'; '.join(parts)}"


def list_prefix(bucket: str, prefix: str, region: str | None = None, page: int = 1000) -> PrefixListing:
    """Count the images below a prefix, without empty objects and keys that end in a slash.

    Args:
        page: objects per request, at most 1,000.

    Raises:
        AwsError, Unreachable.
    """
    storage = aws_client("s3", region)
    query = {"Bucket": bucket, "Prefix": prefix, "PaginationConfig": {"PageSize": page}}
    count = size = lists = 0
    with aws_errors("The bucket cannot be listed"), progress_bar("listing", None, "object") as bar:
        for answer in storage.get_paginator("list_objects_v2").paginate(**query):
            lists += 1
            sizes = [each["Size"] for each in answer.get("Contents", []) if not each["Key"].endswith("/")]
            images = [each for each in sizes if each]
            count, size = count + len(images), size + sum(images)
            bar.update(len(images))
    return PrefixListing(count, size, lists)


def read_backfill_settings(
    stack: Stack | None,
    memory: int | None = None,
    concurrency: int | None = None,
    architecture: str | None = None,
) -> BackfillSettings:
    """Read the settings of a stack, as far as the caller may; arguments override them.

    Args:
        stack: None to assume the template's defaults.
    """
    found: dict[str, Any] = {}
    if stack is not None:
        try:
            with aws_errors("The stack's function and state machine cannot be described"):
                function = stack.output("BatchFunctionName")
                found = stack.client("lambda").get_function_configuration(FunctionName=function)
            found = _first_map(_definition(stack.output("BackfillStateMachineArn"))) | {
                "MemorySize": found["MemorySize"],
                "Architectures": found.get("Architectures", [DEFAULT_ARCHITECTURE]),
            }
        except errors.AwsError:
            pass  # an estimate must work without permissions
    is_express = found.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("ExecutionType") == "EXPRESS"
    return BackfillSettings(
        memory or found.get("MemorySize", MB_PER_CORE),
        concurrency or found.get("MaxConcurrency", DEFAULT_CONCURRENCY),
        found.get("ItemBatcher", {}).get("MaxItemsPerBatch", DEFAULT_BATCH),
        is_express,
        architecture or found.get("Architectures", [DEFAULT_ARCHITECTURE])[0],
        is_known=concurrency is None and "MaxConcurrency" in found,
    )


def start_execution(machine: str, bucket: str, prefix: str) -> str:
    """Start the state machine for a prefix of its bucket; return the execution's ARN.

    Raises:
        AwsError: the caller may not start it, or it belongs to another bucket.
        Unreachable.
    """
    # The bucket is fixed in its definition: with another bucket, it would list the same prefix of the wrong one.
    if bucket not in json.dumps(_definition(machine)):
        raise errors.AwsError("That state machine processes another bucket.")
    with aws_errors("The state machine cannot be started"):
        states = aws_client("stepfunctions", _region(machine))
        answer = states.start_execution(stateMachineArn=machine, input=json.dumps({"prefix": prefix}))
    return str(answer["executionArn"])


def follow_execution(execution: str, pause: Callable[[float], None] = time.sleep) -> ExecutionResult:
    """Wait for the end of an execution, with a progress bar of its items.

    Raises:
        AwsError, Unreachable.
    """
    states, interval = aws_client("stepfunctions", _region(execution)), MIN_POLL_SECONDS
    with progress_bar("items", None, "item") as bar:
        while True:
            with aws_errors("The execution cannot be followed"):
                state = states.describe_execution(executionArn=execution)
                items = _count_items(states, execution)
            bar.total = items["total"] or None
            bar.update(sum(items[name] for name in ("succeeded", *FAILED_STATES)) - bar.n)
            if state["status"] not in RUNNING_STATES:
                return ExecutionResult(
                    state["status"],
                    state.get("error", ""),
                    items,
                    count_images(state.get("output"), _region(execution)),
                )
            pause(interval)
            interval = min(MAX_POLL_SECONDS, 1.5 * interval)


def _count_items(states: Any, execution: str) -> Counter[str]:
    items: Counter[str] = Counter()
    for run in states.list_map_runs(executionArn=execution)["mapRuns"]:
        items.update(states.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"])
    return items


def count_images(output: str | None, region: str) -> dict[str, int]:
    """Count the images of all batches by outcome, from the reports that the map run writes to a bucket.

    Args:
        output: of the execution, which names the reports.

    Returns:
        Empty without readable reports: only the last line and the exit code depend on them.
    """
    found: Counter[str] = Counter()
    try:
        location = json.loads(output or "{}")["ResultWriterDetails"]
        storage = aws_client("s3", region)

        def read(key: str) -> Any:
            return json.loads(storage.get_object(Bucket=location["Bucket"], Key=key)["Body"].read())

        with aws_errors("The reports cannot be read"):
            for file in read(location["Key"])["ResultFiles"]["SUCCEEDED"]:
                for batch in read(file["Key"]):
                    found.update(json.loads(batch["Output"]))
    except (RemoteError, ValueError, KeyError, TypeError):
        return {}
    return dict(found)


def _definition(machine: str) -> Any:
    with aws_errors("The state machine cannot be described"):
        states = aws_client("stepfunctions", _region(machine))
        return json.loads(states.describe_state_machine(stateMachineArn=machine)["definition"])


def _first_map(definition: Any) -> dict[str, Any]:
    """Return the first distributed map of a definition."""
    return next((each for each in _all_states(definition) if each.get("Type") == "Map"), {})


def _all_states(definition: Any) -> Iterator[dict[str, Any]]:
    for state in definition.get("States", {}).values():
        yield state
        yield from _all_states(state.get("ItemProcessor", {}))


def _region(arn: str) -> str:
    """Return the region in an ARN.

    Raises:
        AwsError: it is not an ARN.
    """
    parts = arn.split(":")
    if len(parts) < 6 or parts[0] != "arn":
        raise errors.AwsError("The state machine's name is not an ARN (arn:aws:states:REGION:...).")
    return parts[3]
