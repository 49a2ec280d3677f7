"""A bucket's images through a stack's state machine: listed, started, followed to the end."""

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
    CORE_MB,
    DEFAULT_ARCHITECTURE,
    DEFAULT_BATCH,
    DEFAULT_CONCURRENCY,
    BackfillSettings,
    PrefixListing,
)
from lungseg.remote.errors import RemoteError
from lungseg.remote.image_source import progress_bar
from lungseg.terminal import escape_name

RUNNING_STATES = ("RUNNING", "PENDING_REDRIVE")

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 1.0, 10.0
"""Seconds between two looks at an execution, which runs for minutes or hours."""

FAILED_STATES = ("failed", "timedOut", "aborted")


@dataclass(frozen=True)
class ExecutionResult:
    """How an execution ended.

    Attributes:
        status: Step Functions' name for it.
        error: the name of what stopped it; empty if nothing did.
        items: its map run's items, by what became of them.
        counts: its images by what became of them, if it tells.
    """

    status: str
    error: str = ""
    items: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether all was done."""
        failed = sum(self.items[name] for name in FAILED_STATES) + self.counts.get("failed", 0)
        return self.status == "SUCCEEDED" and not failed

    def summary_line(self) -> str:
        """It in one line."""
        items = ", ".join(f"{self.items[name]:,} {name}" for name in ("succeeded", *FAILED_STATES) if self.items[name])
        images = ", ".join(f"{number:,} {name}" for name, number in self.counts.items())
        told = [f"items: {items or 'none'}"] + ([f"images: {images}"] if images else [])
        error = f" ({escape_name(self.error)})" if self.error else ""
        return f"backfill: {self.status.lower()}{error}; {'; '.join(told)}"


def list_prefix(bucket: str, prefix: str, region: str | None = None, page: int = 1000) -> PrefixListing:
    """Count what lies below a prefix; what is empty or ends in a slash is no image.

    Args:
        page: objects for one request; a thousand are the most.

    Raises:
        AwsRefused, Unreachable.
    """
    storage = aws_client("s3", region)
    asked = {"Bucket": bucket, "Prefix": prefix, "PaginationConfig": {"PageSize": page}}
    count = size = lists = 0
    with aws_errors("The bucket cannot be listed"), progress_bar("listing", None, "object") as seen:
        for part in storage.get_paginator("list_objects_v2").paginate(**asked):
            lists += 1
            sizes = [each["Size"] for each in part.get("Contents", []) if not each["Key"].endswith("/")]
            images = [each for each in sizes if each]
            count, size = count + len(images), size + sum(images)
            seen.update(len(images))
    return PrefixListing(count, size, lists)


def read_backfill_settings(
    stack: Stack | None,
    memory: int | None = None,
    concurrency: int | None = None,
    architecture: str | None = None,
) -> BackfillSettings:
    """How a stack does its images, as far as it may be looked at; what is given goes before it.

    Args:
        stack: None if it is not known.
    """
    found: dict[str, Any] = {}
    if stack is not None:
        try:
            with aws_errors("The stack's function and state machine cannot be looked at"):
                function = stack.output("BatchFunctionName")
                found = stack.client("lambda").get_function_configuration(FunctionName=function)
            found = _first_map(_definition(stack.output("BackfillStateMachineArn"))) | {
                "MemorySize": found["MemorySize"],
                "Architectures": found.get("Architectures", [DEFAULT_ARCHITECTURE]),
            }
        except errors.AwsRefused:
            pass  # an estimate needs no permission
    express = found.get("ItemProcessor", {}).get("ProcessorConfig", {}).get("ExecutionType") == "EXPRESS"
    return BackfillSettings(
        memory or found.get("MemorySize", CORE_MB),
        concurrency or found.get("MaxConcurrency", DEFAULT_CONCURRENCY),
        found.get("ItemBatcher", {}).get("MaxItemsPerBatch", DEFAULT_BATCH),
        express,
        architecture or found.get("Architectures", [DEFAULT_ARCHITECTURE])[0],
        known=concurrency is None and "MaxConcurrency" in found,
    )


def start_execution(machine: str, bucket: str, prefix: str) -> str:
    """Start the state machine over a prefix of its bucket; the ARN of the execution.

    Raises:
        AwsRefused: it may not be started, or is not one of that bucket.
        Unreachable.
    """
    # Its images are those of the bucket in its definition: the same prefix of another bucket would be silently missed.
    if bucket not in json.dumps(_definition(machine)):
        raise errors.AwsRefused("That state machine does the images of another bucket.")
    with aws_errors("The state machine cannot be started"):
        states = aws_client("stepfunctions", _region(machine))
        answer = states.start_execution(stateMachineArn=machine, input=json.dumps({"prefix": prefix}))
    return str(answer["executionArn"])


def follow_execution(execution: str, pause: Callable[[float], None] = time.sleep) -> ExecutionResult:
    """Wait for the end of an execution, with a bar of its items.

    Raises:
        AwsRefused, Unreachable.
    """
    states, rest = aws_client("stepfunctions", _region(execution)), MIN_POLL_SECONDS
    with progress_bar("items", None, "item") as moved:
        while True:
            with aws_errors("The execution cannot be followed"):
                state = states.describe_execution(executionArn=execution)
                items = _count_items(states, execution)
            moved.total = items["total"] or None
            moved.update(sum(items[name] for name in ("succeeded", *FAILED_STATES)) - moved.n)
            if state["status"] not in RUNNING_STATES:
                return ExecutionResult(
                    state["status"],
                    state.get("error", ""),
                    items,
                    count_images(state.get("output"), _region(execution)),
                )
            pause(rest)
            rest = min(MAX_POLL_SECONDS, 1.5 * rest)


def _count_items(states: Any, execution: str) -> Counter[str]:
    items: Counter[str] = Counter()
    for run in states.list_map_runs(executionArn=execution)["mapRuns"]:
        items.update(states.describe_map_run(mapRunArn=run["mapRunArn"])["itemCounts"])
    return items


def count_images(output: str | None, region: str) -> dict[str, int]:
    """The images of all batches by what became of them, from the reports that the map run leaves in a bucket.

    Args:
        output: the execution's, which says where they are.

    Returns:
        Empty if there are none, or if they may not be read: they decide nothing but the last line and the exit code.
    """
    found: Counter[str] = Counter()
    try:
        place = json.loads(output or "{}")["ResultWriterDetails"]
        storage = aws_client("s3", region)

        def read(key: str) -> Any:
            return json.loads(storage.get_object(Bucket=place["Bucket"], Key=key)["Body"].read())

        with aws_errors("The reports cannot be read"):
            for file in read(place["Key"])["ResultFiles"]["SUCCEEDED"]:
                for batch in read(file["Key"]):
                    found.update(json.loads(batch["Output"]))
    except (RemoteError, ValueError, KeyError, TypeError):
        return {}
    return dict(found)


def _definition(machine: str) -> Any:
    with aws_errors("The state machine cannot be looked at"):
        states = aws_client("stepfunctions", _region(machine))
        return json.loads(states.describe_state_machine(stateMachineArn=machine)["definition"])


def _first_map(definition: Any) -> dict[str, Any]:
    """The settings of the first distributed map of a definition."""
    return next((each for each in _all_states(definition) if each.get("Type") == "Map"), {})


def _all_states(definition: Any) -> Iterator[dict[str, Any]]:
    for state in definition.get("States", {}).values():
        yield state
        yield from _all_states(state.get("ItemProcessor", {}))


def _region(arn: str) -> str:
    """The region in an ARN, which is where its service is to be asked.

    Raises:
        AwsRefused: it is no ARN.
    """
    parts = arn.split(":")
    if len(parts) < 6 or parts[0] != "arn":
        raise errors.AwsRefused("The state machine is not named by an ARN (arn:aws:states:REGION:...).")
    return parts[3]
