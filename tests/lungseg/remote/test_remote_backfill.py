"""`remote backfill` on a local stand-in for S3, CloudFormation, Lambda and Step Functions, which runs the map."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from buckets import Buckets
from processes import only_line
from stacks import create_function, create_role, create_stack

from lungseg.cli.main import main
from lungseg.remote import backfill
from lungseg.remote.cost import PrefixListing

PASS = {"Type": "Pass", "End": True}
FAIL_ONE = {
    "StartAt": "Which",
    "States": {
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.Key", "StringEquals": "in/image 3.png", "Next": "Bad"}],
            "Default": "Good",
        },
        "Bad": {"Type": "Fail", "Error": "Bad"},
        "Good": PASS,
    },
}


@pytest.fixture
def executing(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the stand-in run state machines, with the tests' own S3."""

    def configure(run: bool) -> None:
        body = json.dumps({"stepfunctions": {"execute_state_machine": run}}).encode()
        request = urllib.request.Request(f"{s3}/moto-api/config", body, {"Content-Type": "application/json"})
        request.method = "POST"
        urllib.request.urlopen(request).close()

    monkeypatch.setenv("MOTO_PORT", s3.rpartition(":")[2])
    configure(True)
    yield
    configure(False)


@pytest.fixture
def images(buckets: Buckets) -> Buckets:
    """12 images, the marker of a folder, and an image elsewhere."""
    for number in range(12):
        buckets.drop(f"in/image {number}.png", b"x" * 1000)
    buckets.drop("in/", b"")
    buckets.drop("out/other.png", b"x")
    return buckets


def create_machine(buckets: Buckets, processor: dict[str, Any] | None = None, **settings: Any) -> str:
    """Create a state machine like template.yaml's, but without batches, which the stand-in lacks."""
    processor = processor or {"StartAt": "Segment", "States": {"Segment": PASS}}
    map_state = {
        "Type": "Map",
        "ItemReader": {
            "Resource": "arn:aws:states:::s3:listObjectsV2",
            "Parameters": {"Bucket": buckets.films, "Prefix.$": "$.prefix"},
        },
        "ItemSelector": {"Key.$": "$$.Map.Item.Value.Key"},
        "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}} | processor,
        "Label": "Prefix",
        "End": True,
    }
    definition = json.dumps({"StartAt": "ImagesOfPrefix", "States": {"ImagesOfPrefix": map_state | settings}})
    created = boto3.client("stepfunctions").create_state_machine(
        name=f"backfill-{buckets.films}", definition=definition, roleArn=create_role("role-states", "states")
    )
    return str(created["stateMachineArn"])


class TestDryRun:
    def test_dry_run_prints_every_assumption(self, images: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["remote", "backfill", f"s3://{images.films}/in/", "--dry-run"]) == 0
        printed = capsys.readouterr()
        assert not printed.err
        found = printed.out.splitlines()
        assert found[:2] == ["images: 12", "bytes: 12,000 (0.0 MB per image)"]
        for begin in (
            *("minutes: ", "  per image: 610 ms = 460 ms", "  460 ms: measured", "dollars: "),
            *("  Lambda time, x86_64: ", "  Lambda requests: ", "  S3 PUT: 24 x $0.005 per 1,000", "  S3 GET: "),
            *("  S3 LIST: ", "  Step Functions: ", "  prices: ", "  not included: "),
        ):
            assert any(line.startswith(begin) for line in found), begin
        assert "image 3" not in printed.out

    def test_listing_counts_all_pages(self, images: Buckets) -> None:
        assert backfill.list_prefix(images.films, "in/", page=5) == PrefixListing(12, 12_000, 3)
        assert backfill.list_prefix(images.films, "") == PrefixListing(13, 12_001, 1)

    def test_empty_prefix_costs_nothing(self, buckets: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["remote", "backfill", f"s3://{buckets.films}", "--dry-run"]) == 0
        assert "dollars: 0.00" in capsys.readouterr().out

    def test_estimate_uses_the_stacks_settings(self, images: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
        arn = create_machine(images, MaxConcurrency=7)
        create_function("batch", MemorySize=885, Architectures=["arm64"])
        create_stack(
            "lungs-backfill", InputBucketName=images.films, BatchFunctionName="batch", BackfillStateMachineArn=arn
        )
        arguments = ["remote", "backfill", f"s3://{images.films}/in/", "--stack", "lungs-backfill", "--dry-run"]
        assert main(arguments) == 0
        printed = capsys.readouterr().out
        assert "7 functions in parallel (the stack's)" in printed
        assert "with 885 MB" in printed
        assert "Lambda time, arm64" in printed
        assert "not measured on arm64" in printed
        assert main([*arguments, "--memory", "3538", "--concurrency", "100", "--architecture", "x86_64"]) == 0
        printed = capsys.readouterr().out
        assert "100 functions in parallel (assumed)" in printed
        assert "with 3538 MB" in printed
        assert "Lambda time, x86_64" in printed


class TestExecution:
    def test_execution_is_started_and_followed(
        self, images: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["remote", "backfill", f"s3://{images.films}/in/", "--state-machine", create_machine(images)]) == 0
        printed = capsys.readouterr()
        execution = printed.out.strip()
        assert execution.startswith("arn:aws:states:eu-west-1:")
        assert printed.err == "backfill: succeeded; items: 13 succeeded\n"
        execution_input = boto3.client("stepfunctions").describe_execution(executionArn=execution)["input"]
        assert json.loads(execution_input) == {"prefix": "in/"}

    def test_failed_items_are_exit_code_1(
        self, images: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arn = create_machine(images, FAIL_ONE)
        assert main(["remote", "backfill", f"s3://{images.films}/in/", "--state-machine", arn]) == 1
        assert capsys.readouterr().err == "backfill: succeeded; items: 12 succeeded, 1 failed\n"

    def test_failed_execution_is_exit_code_1(
        self, images: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "no-such-bucket"}}
        arn = create_machine(images, ItemReader=reader, Comment=images.films)
        assert main(["remote", "backfill", f"s3://{images.films}/in/", "--state-machine", arn]) == 1
        assert capsys.readouterr().err == "backfill: failed (States.Runtime); items: none\n"

    def test_detach_only_starts(self, images: Buckets, executing: None, capsys: pytest.CaptureFixture[str]) -> None:
        arn = create_machine(images)
        assert main(["remote", "backfill", f"s3://{images.films}", "--state-machine", arn, "--detach"]) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith("arn:aws:states:")
        assert not printed.err

    def test_images_are_counted_from_the_reports(self, buckets: Buckets) -> None:
        def put(key: str, document: object) -> None:
            buckets.client.put_object(Bucket=buckets.outputs, Key=key, Body=json.dumps(document).encode())

        batches = [{"done": 9, "skipped": 0, "failed": 1, "gone": 0}, {"done": 3, "skipped": 2, "failed": 0, "gone": 1}]
        put("r/S_0.json", [{"Name": "1", "Status": "SUCCEEDED", "Output": json.dumps(batches[0])}])
        put("r/S_1.json", [{"Name": "2", "Status": "SUCCEEDED", "Output": json.dumps(batches[1])}])
        files = {"FAILED": [], "PENDING": [], "SUCCEEDED": [{"Key": "r/S_0.json"}, {"Key": "r/S_1.json"}]}
        put("r/manifest.json", {"DestinationBucket": buckets.outputs, "ResultFiles": files})
        output = json.dumps({"ResultWriterDetails": {"Bucket": buckets.outputs, "Key": "r/manifest.json"}})
        found = backfill.count_images(output, "eu-west-1")
        assert found == {"done": 12, "skipped": 2, "failed": 1, "gone": 1}
        end = backfill.ExecutionResult("SUCCEEDED", counts=found)
        assert not end.is_complete
        assert end.summary_line() == "backfill: succeeded; items: none; images: 12 done, 2 skipped, 1 failed, 1 gone"
        for other in (None, "", "[]", "no json", '{"ResultWriterDetails": {"Bucket": "no-such", "Key": "x"}}'):
            assert backfill.count_images(other, "eu-west-1") == {}


class TestRefusals:
    def test_state_machine_of_another_bucket_is_not_started(
        self, images: Buckets, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arn = create_machine(images)
        assert main(["remote", "backfill", f"s3://{images.outputs}/in/", "--state-machine", arn]) == 2
        assert "another bucket" in only_line(capsys)
        create_stack("lungs-other", InputBucketName=images.films, BackfillStateMachineArn=arn)
        assert main(["remote", "backfill", f"s3://{images.outputs}/in/", "--stack", "lungs-other"]) == 2
        assert f"s3://{images.films}" in only_line(capsys)
        assert not boto3.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["s3://images/in/"], "--dry-run"),
            (["images/in/", "--dry-run"], "s3://BUCKET/PREFIX"),
            (["s3:///in/", "--dry-run"], "s3://BUCKET/PREFIX"),
            (["s3://images", "--state-machine", "backfill"], "not an ARN"),
            (["s3://images", "--state-machine", "arn", "--memory", "1024"], "--dry-run"),
            (["s3://no-such-bucket-of-the-tests", "--dry-run"], "ListObjectsV2 returned NoSuchBucket"),
            (["s3://images", "--stack", "no-such"], "DescribeStacks returned ValidationError"),
        ],
    )
    def test_one_line(
        self, arguments: list[str], text: str, buckets: Buckets, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["remote", "backfill", *arguments]) == 2
        assert text in only_line(capsys)
