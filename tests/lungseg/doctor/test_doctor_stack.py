"""`doctor --stack`: a healthy stack, and each thing that can be wrong with one."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from buckets import Buckets
from doctor_command import DOCTOR_KEY, SERVICE_CHECKS, run_doctor
from services import Answer, Gateway, both, keyed, serving
from stacks import DeployedStack, create_stack

from lungseg.cli.main import main


@pytest.fixture
def stack(s3: str, buckets: Buckets) -> Iterator[DeployedStack]:
    """A complete stack, whose API asks for a key and has Lambda's limits."""
    gateway = Gateway()
    body = json.dumps({"lambda": {"use_docker": False}}).encode()
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{s3}/moto-api/config", body, headers, method="POST")).close()
    with serving(gateway) as address:
        deployed = DeployedStack(buckets, gateway, address, f"{DOCTOR_KEY}-of-{buckets.films[-8:]}")
        gateway.hook = both(keyed(deployed.key), lambda_limit)
        yield deployed


@pytest.fixture
def _no_service_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungseg.doctor.service.check_service", lambda *_, **__: iter(()))


def lambda_limit(method: str, path: str, headers: dict[str, str]) -> Answer | None:
    """Reject what exceeds Lambda's limit, as API Gateway does."""
    is_large = int(headers.get("content-length", "0")) * 4 / 3 > 6 * 2**20
    return Answer(413, b'{"message": "Request Too Long"}') if is_large else None


def test_complete_stack_passes(stack: DeployedStack, capsys: pytest.CaptureFixture[str]) -> None:
    code, checks = run_doctor(capsys, "--stack", stack.name)
    assert code == 0
    assert {check["state"] for check in checks.values()} == {"ok"}, checks
    assert list(checks)[:1] == ["stack outputs"]
    assert {*SERVICE_CHECKS, "credentials", "trigger", "batch function", "dead letters"} < set(checks)
    assert '"in/" and "jobs/"' in checks["trigger"]["text"]
    assert main(["doctor", "--stack", stack.name]) == 0
    assert DOCTOR_KEY not in capsys.readouterr().out


def test_missing_stack_is_one_line(buckets: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--stack", "no-such"]) == 2
    assert "aws-refused" in capsys.readouterr().err


def test_missing_outputs_fail(buckets: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
    create_stack("half", ApiUrl="https://h/v1", InputBucketName="b")
    code, checks = run_doctor(capsys, "--stack", "half")
    assert (code, list(checks)) == (1, ["stack outputs"])
    assert "BatchFunctionName, OutputBucketName" in checks["stack outputs"]["text"]


@pytest.mark.usefixtures("_no_service_checks")
def test_every_fault_is_found(stack: DeployedStack, capsys: pytest.CaptureFixture[str]) -> None:
    storage, queues, bucket = stack.s3, boto3.client("sqs"), stack.input_bucket
    faults: list[tuple[str, str, str, Callable[[], Any]]] = [
        ("input bucket", "failed", "public access", lambda: storage.delete_public_access_block(Bucket=bucket)),
        ("input bucket", "failed", "plain HTTP", lambda: storage.delete_bucket_policy(Bucket=bucket)),
        ("trigger", "failed", "images of jobs", lambda: stack.notify(["in/"])),
        ("trigger", "failed", "not all", lambda: stack.notify([""], "s3:ObjectCreated:Put")),
        ("trigger", "failed", "not all", lambda: stack.notify([])),
        (
            "dead letters",
            "warning",
            "1 image could",
            lambda: queues.send_message(QueueUrl=stack.dead, MessageBody="x/y"),
        ),
        ("batch function", "failed", "does not receive", stack.disconnect_function),
    ]
    for name, state, text, break_it in faults:
        break_it()
        code, checks = run_doctor(capsys, "--stack", stack.name)
        assert checks[name]["state"] == state, name
        assert text in checks[name]["text"]
        assert code == 1  # because of the first faults
        assert "x/y" not in json.dumps(checks)
    assert "start-message-move-task" in checks["dead letters"]["remedy"]


@pytest.mark.usefixtures("_no_service_checks")
def test_missing_dead_letter_queue_fails(stack: DeployedStack, capsys: pytest.CaptureFixture[str]) -> None:
    queues = boto3.client("sqs")
    queues.set_queue_attributes(QueueUrl=stack.queue, Attributes={"RedrivePolicy": ""})
    assert run_doctor(capsys, "--stack", stack.name)[1]["dead letters"]["state"] == "failed"
    queues.delete_queue(QueueUrl=stack.dead)
    assert "GetQueueAttributes returned" in run_doctor(capsys, "--stack", stack.name)[1]["dead letters"]["text"]


@pytest.mark.usefixtures("_no_service_checks")
@pytest.mark.parametrize(
    "change", [{"Effect": "Allow"}, {"Action": "s3:GetObject"}, {"Principal": {"AWS": "arn:aws:iam::1:root"}}]
)
def test_weaker_policy_does_not_deny_plain_http(
    change: dict[str, Any], stack: DeployedStack, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.protect(stack.input_bucket, **change)
    code, checks = run_doctor(capsys, "--stack", stack.name)
    assert (code, checks["input bucket"]["text"]) == (1, "no policy denies plain HTTP")


def test_denied_access_is_a_warning(
    stack: DeployedStack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def deny(*_: object) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "GetBucketPolicy")

    monkeypatch.setattr("lungseg.doctor.stack._check_bucket", deny)
    code, checks = run_doctor(capsys, "--stack", stack.name)
    assert (code, checks["input bucket"]["state"]) == (0, "warning")
    assert "GetBucketPolicy returned AccessDenied" in checks["input bucket"]["text"]


def test_stack_without_authorisation_fails(stack: DeployedStack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.gateway.hook = lambda_limit
    code, checks = run_doctor(capsys, "--stack", stack.name)
    assert (code, checks["authorisation"]["state"]) == (1, "failed")
