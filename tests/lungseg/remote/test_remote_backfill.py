"""`remote backfill` on a local stand-in for S3, CloudFormation, Lambda and Step Functions, which runs the map."""

from __future__ import annotations

import io
import json
import re
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from buckets import Buckets, Context, map_event
from processes import only_line

from app.buckets.s3 import get_store
from app.dispatch import handle
from lungseg.cli.main import main
from lungseg.remote import backfill
from lungseg.remote.cost import GETS, PUTS, BackfillSettings, PrefixListing, estimate_backfill, estimate_lines

PASS = {"Type": "Pass", "End": True}
FAIL_ONE = {
    "StartAt": "Which",
    "States": {
        "Which": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.Key", "StringEquals": "in/film 3.png", "Next": "Bad"}],
            "Default": "Good",
        },
        "Bad": {"Type": "Fail", "Error": "Bad"},
        "Good": PASS,
    },
}


@pytest.fixture
def executing(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """State machines run, and find their buckets where the tests' are."""

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
def films(buckets: Buckets) -> Buckets:
    """Twelve images, a folder's marker, and one elsewhere."""
    for number in range(12):
        buckets.drop(f"in/film {number}.png", b"x" * 1000)
    buckets.drop("in/", b"")
    buckets.drop("out/other.png", b"x")
    return buckets


def role(service: str) -> str:
    name = f"role-{service}"
    iam = boto3.client("iam")
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        allowed = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"])


def machine(buckets: Buckets, processor: dict[str, Any] | None = None, **settings: Any) -> str:
    """A state machine like template.yaml's, but for batches, which the stand-in does not know."""
    processor = processor or {"StartAt": "Segment", "States": {"Segment": PASS}}
    films = {
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
    definition = json.dumps({"StartAt": "FilmsOfPrefix", "States": {"FilmsOfPrefix": films | settings}})
    made = boto3.client("stepfunctions").create_state_machine(
        name=f"backfill-{buckets.films}", definition=definition, roleArn=role("states")
    )
    return str(made["stateMachineArn"])


class TestDryRun:
    def test_every_figure_has_its_reason(self, films: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["remote", "backfill", f"s3://{films.films}/in/", "--dry-run"]) == 0
        said = capsys.readouterr()
        assert not said.err
        found = said.out.splitlines()
        assert found[:2] == ["images: 12", "bytes: 12,000 (0.0 MB an image)"]
        for begin in (
            "minutes: ",
            "  an image: 610 ms = 460 ms",
            "  460 ms: measured",
            "dollars: ",
            "  Lambda, time: ",
            "  Lambda, requests: ",
        ):
            assert any(line.startswith(begin) for line in found)
        for begin in ("  S3, PUT: ", "  S3, GET: ", "  S3, LIST: ", "  Step Functions: ", "  prices: ", "  left out: "):
            assert any(line.startswith(begin) for line in found)
        assert "image 3" not in said.out

    def test_all_pages_of_a_listing_are_counted(self, films: Buckets) -> None:
        assert backfill.list_prefix(films.films, "in/", page=5) == PrefixListing(12, 12_000, 3)
        assert backfill.list_prefix(films.films, "") == PrefixListing(13, 12_001, 1)

    def test_the_sums(self) -> None:
        found = estimate_backfill(PrefixListing(1_000_000, 10**13, 1000), BackfillSettings(1769, 100, 10))
        assert found.milliseconds == 460 + 150 + 15 * 10
        assert found.minutes == pytest.approx(1_000_000 * 0.76 / 100 / 60)
        assert found.dollars == pytest.approx(
            {
                "Lambda, time": 760_000 * 1769 / 1024 * 0.0000166667,
                "Lambda, requests": 0.02,
                "S3, PUT": 10.0,
                "S3, GET": 1.6,
                "S3, LIST": 0.005,
                "Step Functions": 100_000 * 4 * 0.000025,
            }
        )

    def test_memory_below_one_processor_makes_it_slower_and_above_no_faster(self) -> None:
        films = PrefixListing(1000, 10**9, 1)
        times = [estimate_backfill(films, BackfillSettings(memory)).milliseconds for memory in (885, 1769, 3538)]
        assert times[0] == pytest.approx(times[1] + 460, abs=1)
        assert times[1] == times[2]
        express = estimate_backfill(films, BackfillSettings(express=True)).dollars["Step Functions"]
        assert express < estimate_backfill(films, BackfillSettings()).dollars["Step Functions"]
        assert any(
            "Express" in line for line in estimate_lines(estimate_backfill(films, BackfillSettings(express=True)))
        )

    def test_nothing_there_costs_next_to_nothing(self, buckets: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["remote", "backfill", f"s3://{buckets.films}", "--dry-run"]) == 0
        assert "dollars: 0.00" in capsys.readouterr().out

    def test_a_stack_tells_its_memory_and_concurrency(self, films: Buckets, capsys: pytest.CaptureFixture[str]) -> None:
        arn = machine(films, MaxConcurrency=7)
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("serverless.py", "")
        boto3.client("lambda").create_function(
            FunctionName="batch",
            Runtime="python3.12",
            Role=role("lambda"),
            Handler="serverless.handler",
            Code={"ZipFile": code.getvalue()},
            MemorySize=885,
            Architectures=["arm64"],
        )
        stack("lungs-backfill", InputBucketName=films.films, BatchFunctionName="batch", BackfillStateMachineArn=arn)
        arguments = ["remote", "backfill", f"s3://{films.films}/in/", "--stack", "lungs-backfill", "--dry-run"]
        assert main(arguments) == 0
        said = capsys.readouterr().out
        assert "7 functions at a time (the stack's)" in said
        assert "with 885 MB" in said
        assert "a GB-second on arm64" in said
        assert "not measured on arm64" in said
        assert main([*arguments, "--memory", "3538", "--concurrency", "100", "--architecture", "x86_64"]) == 0
        said = capsys.readouterr().out
        assert "100 functions at a time (assumed)" in said
        assert "with 3538 MB" in said
        assert "a GB-second on x86_64" in said

    def test_arm64_costs_a_fifth_less_for_the_same_time(self) -> None:
        films = PrefixListing(1000, 10**9, 1)
        x86, arm = (
            estimate_backfill(films, BackfillSettings(architecture=name)).dollars["Lambda, time"]
            for name in ("x86_64", "arm64")
        )
        assert arm / x86 == pytest.approx(0.8, abs=0.001)


class TestExecution:
    def test_it_is_started_and_followed(
        self, films: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["remote", "backfill", f"s3://{films.films}/in/", "--state-machine", machine(films)]) == 0
        said = capsys.readouterr()
        execution = said.out.strip()
        assert execution.startswith("arn:aws:states:eu-west-1:")
        assert said.err == "backfill: succeeded; items: 13 succeeded\n"
        asked = boto3.client("stepfunctions").describe_execution(executionArn=execution)["input"]
        assert json.loads(asked) == {"prefix": "in/"}

    def test_items_that_fail_are_exit_code_1(
        self, films: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arn = machine(films, FAIL_ONE)
        assert main(["remote", "backfill", f"s3://{films.films}/in/", "--state-machine", arn]) == 1
        assert capsys.readouterr().err == "backfill: succeeded; items: 12 succeeded, 1 failed\n"

    def test_an_execution_that_fails_is_exit_code_1(
        self, films: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reader = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "no-such-bucket"}}
        arn = machine(films, ItemReader=reader, Comment=films.films)
        assert main(["remote", "backfill", f"s3://{films.films}/in/", "--state-machine", arn]) == 1
        assert capsys.readouterr().err == "backfill: failed (States.Runtime); items: none\n"

    def test_detached_it_is_only_started(
        self, films: Buckets, executing: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arn = machine(films)
        assert main(["remote", "backfill", f"s3://{films.films}", "--state-machine", arn, "--detach"]) == 0
        said = capsys.readouterr()
        assert said.out.startswith("arn:aws:states:")
        assert not said.err

    def test_films_are_counted_from_the_reports(self, buckets: Buckets) -> None:
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
    def test_another_buckets_state_machine_is_not_started(
        self, films: Buckets, capsys: pytest.CaptureFixture[str]
    ) -> None:
        arn = machine(films)
        assert main(["remote", "backfill", f"s3://{films.outputs}/in/", "--state-machine", arn]) == 2
        assert "another bucket" in only_line(capsys)
        stack("lungs-other", InputBucketName=films.films, BackfillStateMachineArn=arn)
        assert main(["remote", "backfill", f"s3://{films.outputs}/in/", "--stack", "lungs-other"]) == 2
        assert f"input bucket is s3://{films.films}" in only_line(capsys)
        assert not boto3.client("stepfunctions").list_executions(stateMachineArn=arn)["executions"]

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["s3://films/in/"], "--dry-run"),
            (["films/in/", "--dry-run"], "s3://BUCKET/PREFIX"),
            (["s3:///in/", "--dry-run"], "s3://BUCKET/PREFIX"),
            (["s3://films", "--state-machine", "backfill"], "named by an ARN"),
            (["s3://films", "--state-machine", "arn", "--memory", "1024"], "use them with --dry-run"),
            (["s3://no-such-bucket-of-the-tests", "--dry-run"], "ListObjectsV2 answered NoSuchBucket"),
            (["s3://films", "--stack", "no-such"], "DescribeStacks answered ValidationError"),
        ],
    )
    def test_one_line(
        self, arguments: list[str], text: str, buckets: Buckets, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["remote", "backfill", *arguments]) == 2
        assert text in only_line(capsys)


def stack(name: str, **outputs: str) -> None:
    """A stack that has such outputs."""
    body = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(body))


def test_what_is_assumed_is_what_the_template_has() -> None:
    template = (Path(__file__).parents[3] / "template.yaml").read_text()
    for name, value in (
        ("BatchMemory", BackfillSettings().memory),
        ("BackfillParallel", BackfillSettings().concurrency),
        ("BackfillBatch", BackfillSettings().batch),
    ):
        found = re.search(rf"\n  {name}:\n(?:    .*\n)*?    Default: (\d+)\n", template)
        assert found
        assert int(found[1]) == value


@pytest.mark.parametrize("done", [False, True])
def test_a_films_requests_are_those_that_are_reckoned_with(done: bool, buckets: Buckets, small: bytes) -> None:
    buckets.drop("in/a.png", small)
    if done:
        buckets.do("in/a.png")
    asked: Counter[str] = Counter()
    events = get_store()._client.meta.events
    events.register("before-call.s3.*", lambda model, **_: asked.update([model.name]))
    handle(map_event(buckets.films, "in/a.png"), Context())
    # An image that is done costs one more look at what is there, and no PUT, which costs twelve times as much.
    assert asked["HeadObject"] + asked["GetObject"] <= GETS + done
    assert asked["PutObject"] == (0 if done else PUTS)


def test_the_table_of_the_operations_page_is_what_is_reckoned() -> None:
    page = (Path(__file__).parents[3] / "docs" / "OPERATIONS.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.,]+) \|.* ([\d.,]+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for films, minutes, dollars in rows:
        count = int(films.replace(",", ""))
        found = estimate_backfill(PrefixListing(count, 2_000_000 * count, -(-count // 1000)), BackfillSettings())
        assert minutes == f"{found.minutes:,.1f}"
        assert dollars == f"{sum(found.dollars.values()):,.2f}"
