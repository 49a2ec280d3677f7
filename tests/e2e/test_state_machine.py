"""The backfill's state machine from template.yaml: checked by cfn-lint, and run over 200 keys with the real handler.

moto's Step Functions runs the states: it lists the bucket and selects the items, then runs batches, retries and rounds.
Each task is the real handler behind Lambda's runtime interface. moto has no ItemBatcher, so the test makes the batches
as the definition says. moto ignores the tolerance of failures.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from cloudformation import deployed
from conftest import tool
from engine import ROOT, run
from killable import KILL
from lambda_api import Invocations, answering
from ports import free_ports
from processes import smaller, wait_for
from runtime import runtime
from servers import REGION, client, environment, running

from app.invocation import MIN_REMAINING_MS
from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment

FILMS, MASKS = "backfill-films", "backfill-masks"
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:batch"
ROLE = "arn:aws:iam::123456789012:role/backfill"

GOOD, POISON = 188, 10
KEYS = GOOD + POISON + 2
"""Two more: a folder marker, as the S3 console makes it, and an image that kills every process."""

KILLER = "in/100 killer.png"

SECONDS = MIN_REMAINING_MS // 1000 + 2
"""The function's timeout: it starts no image within the reserve, so that one call is too short for a batch."""


def definition() -> dict[str, Any]:
    """Return the state machine of the template with default parameters."""
    names = {"InputBucket": FILMS, "OutputBucket": MASKS, "BatchFunction.Arn": ARN}
    found: dict[str, Any] = json.loads(resource(names)["DefinitionString"])
    return found


def resource(names: dict[str, str]) -> dict[str, Any]:
    """Return the state machine's properties."""
    found: dict[str, Any] = deployed(names)["Resources"]["BackfillStateMachine"]["Properties"]
    return found


@dataclass(frozen=True)
class Cloud:
    """moto with Step Functions that run, and the batch function."""

    s3: Any
    steps: Any
    invocations: Invocations


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    """Run everything during a test."""
    moto, front = free_ports(2)
    # Path style, because not every resolver knows bucket.localhost.
    (tmp_path / "config").write_text("[default]\ns3 =\n    addressing_style = path\n")
    told = os.environ | {"MOTO_PORT": str(front), "AWS_CONFIG_FILE": str(tmp_path / "config")}
    url = f"http://127.0.0.1:{moto}"
    function = environment(url) | {
        "LUNG_DOOR": "records",
        "LUNG_INPUT_BUCKET": FILMS,
        "LUNG_OUTPUT_BUCKET": MASKS,
        "LUNG_THREADS": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}:{ROOT / 'tests' / 'promises'}",
    }
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(moto)]
        stack.enter_context(running(command, tmp_path / "moto.log", told))
        s3 = client("s3", url)
        wait_for(lambda: answers(s3), 60)
        logs = [tmp_path / f"function{number}.log" for number in range(2)]
        functions = [stack.enter_context(runtime(log, function, "killable.handler", timeout=SECONDS)) for log in logs]
        invocations = Invocations(ARN, moto, functions, throttles=3)
        stack.enter_context(answering(front, invocations))
        really = json.dumps({"stepfunctions": {"execute_state_machine": True}}).encode()
        urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/config", data=really)).close()
        for bucket in (FILMS, MASKS):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        yield Cloud(s3, client("stepfunctions", url), invocations)


def answers(s3: Any) -> bool:
    """Return whether the server is up."""
    with contextlib.suppress(BotoCoreError, ClientError):
        s3.list_buckets()
        return True
    return False


def execute(cloud: Cloud, definition: dict[str, Any], given: dict[str, Any], seconds: float = 300) -> dict[str, Any]:
    """Run an execution; return its final description."""
    name = f"backfill-{len(cloud.steps.list_state_machines()['stateMachines'])}"
    machine = cloud.steps.create_state_machine(name=name, definition=json.dumps(definition), roleArn=ROLE)
    started = cloud.steps.start_execution(stateMachineArn=machine["stateMachineArn"], input=json.dumps(given))
    found: dict[str, Any] = {}

    def ended() -> bool:
        time.sleep(0.3)
        found.update(cloud.steps.describe_execution(executionArn=started["executionArn"]))
        return bool(found["status"] != "RUNNING")

    wait_for(ended, seconds)
    return found


def without(state: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return a state without some of its fields."""
    return {name: each for name, each in state.items() if name not in names}


def backfill(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
    """Run a backfill: one machine reads the map's items, another runs their batches. Return its final description."""
    machine = definition()
    images = machine["States"]["FilmsOfPrefix"]
    # moto's parser accepts no integer here.
    images["ToleratedFailurePercentage"] = float(images["ToleratedFailurePercentage"])

    config = images["ItemProcessor"]["ProcessorConfig"]
    echo = {"ProcessorConfig": config, "StartAt": "Echo", "States": {"Echo": {"Type": "Pass", "End": True}}}
    reading = without(images, "ItemBatcher", "ResultWriter") | {"ItemProcessor": echo}
    read = execute(cloud, with_films(machine, reading), given)
    assert read["status"] == "SUCCEEDED", read
    items = json.loads(read["output"])

    size, batch_input = images["ItemBatcher"]["MaxItemsPerBatch"], images["ItemBatcher"]["BatchInput"]
    batches = [{"BatchInput": batch_input, "Items": items[at : at + size]} for at in range(0, len(items), size)]
    cloud.s3.put_object(Bucket=FILMS, Key="batches.json", Body=json.dumps(batches).encode())
    reader = {
        "Resource": "arn:aws:states:::s3:getObject",
        "ReaderConfig": {"InputType": "JSON"},
        "Parameters": {"Bucket": FILMS, "Key": "batches.json"},
    }
    doing = without(images, "ItemBatcher", "ItemSelector") | {"ItemReader": reader}
    return execute(cloud, with_films(machine, doing), given)


def with_films(machine: dict[str, Any], images: dict[str, Any]) -> dict[str, Any]:
    """Return the definition with another map over a prefix, and none over an inventory, which moto cannot read."""
    return machine | {
        "States": machine["States"] | {"FilmsOfPrefix": images, "FilmsOfInventory": {"Type": "Pass", "End": True}}
    }


def test_cfn_lint_accepts_the_definition(tmp_path: Path) -> None:
    """As an object: in the template it is a string with parameters, which cfn-lint does not check."""
    properties = resource({"BackfillRole.Arn": ROLE}) | {"Definition": definition()}
    properties = {name: each for name, each in properties.items() if name != "DefinitionString"}
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    (tmp_path / "template.json").write_text(json.dumps({"Resources": {"Backfill": machine}}))
    assert run(tool("cfn-lint"), tmp_path / "template.json").stdout == ""


def test_map_over_200_keys(cloud: Cloud, rg1_png: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    # Large images, so that no machine processes a batch in the 2 s of a call.
    images = [smaller(rg1_png, width) for width in range(1500, 1700, 40)]
    masks = [mask_png(segment(image).mask) for image in images]
    good = [f"in/{number:03} a+b %20 ü.png" for number in range(GOOD)]
    bad = [f"in/bad {number}.dcm" for number in range(POISON)]
    for number, key in enumerate(good):
        cloud.s3.put_object(Bucket=FILMS, Key=key, Body=images[number % len(images)])
    for key in (*bad, "other/film.png"):
        cloud.s3.put_object(Bucket=FILMS, Key=key, Body=b"no image")
    cloud.s3.put_object(Bucket=FILMS, Key="in/", Body=b"")
    cloud.s3.put_object(Bucket=FILMS, Key=KILLER, Body=images[0] + KILL)

    started = time.monotonic()
    end = backfill(cloud, {"prefix": "in/"})
    seconds = time.monotonic() - started

    assert [each.partition(":")[0] for each in cloud.invocations.failures] == ["Runtime.ExitError"] * 3
    assert end["status"] == "SUCCEEDED", end
    listed = cloud.s3.list_objects_v2(Bucket=MASKS)["Contents"]
    written = {each["Key"] for each in listed if not each["Key"].startswith(("backfill-reports/", "begun/"))}
    assert written == {f"{key}{form}" for key in good for form in (".mask.png", ".json")} | {
        f"{key}.error.json" for key in (*bad, KILLER)
    }
    for number, key in enumerate(good):
        mask = cloud.s3.get_object(Bucket=MASKS, Key=f"{key}.mask.png")["Body"].read()
        assert mask == masks[number % len(masks)], number

    calls = cloud.invocations.calls
    last = [answer for _, answer in calls if not answer["Items"] and "delivery" not in answer]
    counts = sum((Counter(answer["counts"]) for answer in last), Counter[str]())
    size = definition()["States"]["FilmsOfPrefix"]["ItemBatcher"]["MaxItemsPerBatch"]
    with capsys.disabled():
        print(f"\n{KEYS} keys, {len(last)} batches, {len(calls)} calls, {dict(counts)}, 3 throttles; {seconds:.1f} s")
    # The killer's batch was split, and sent again when all of it was done.
    size_of_split = sum("delivery" in answer for _, answer in calls if not answer["Items"])
    assert counts["done"] + counts["skipped"] == GOOD
    assert counts["skipped"] < size_of_split <= size
    assert (counts["failed"], counts["gone"]) == (POISON + 1, 1)
    assert len(last) == -(-KEYS // size)
    assert len(calls) > len(last), "no call ran out of time: the loop was not tried"
    assert cloud.invocations.throttles == 0
    # The second time, nothing is left to do.
    calls.clear()
    assert backfill(cloud, {"prefix": "in/"})["status"] == "SUCCEEDED"
    again = sum((Counter(answer["counts"]) for _, answer in calls if not answer["Items"]), Counter[str]())
    assert again == {"skipped": GOOD, "failed": POISON + 1, "gone": 1}
    assert len(cloud.invocations.failures) == 3, "the killer is known"


def test_missing_input_is_named(cloud: Cloud) -> None:
    machine = with_films(definition(), {"Type": "Pass", "End": True})
    end = execute(cloud, machine, {"folder": "in/"})
    assert (end["status"], end["error"]) == ("FAILED", "NoSource")
