"""template.yaml in every configuration; promises/test_template_policy.py checks it against the policy."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cloudformation import POOL, WAYS, deployed, listed, load, of

import serverless
from app.buckets.keys import JOBS_PREFIX, MARKERS_PREFIX, REPORTS_PREFIX

ROOT = Path(__file__).resolve().parents[2]

OUTPUTS = {"ApiUrl", "ApiKeyId", "ApiFunctionName", "BatchFunctionName", "InputBucketName", "OutputBucketName"}
OUTPUTS |= {"QueueUrl", "DeadLetterQueueUrl", "BackfillStateMachineArn", "Curl"}

GATEWAY_RESPONSES = {"DEFAULT_4XX", "DEFAULT_5XX", "ACCESS_DENIED", "API_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE"}
GATEWAY_RESPONSES |= {"AUTHORIZER_CONFIGURATION_ERROR", "BAD_REQUEST_PARAMETERS", "BAD_REQUEST_BODY", "EXPIRED_TOKEN"}
GATEWAY_RESPONSES |= {"INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "INVALID_API_KEY", "INVALID_SIGNATURE"}
GATEWAY_RESPONSES |= {"MISSING_AUTHENTICATION_TOKEN", "QUOTA_EXCEEDED", "REQUEST_TOO_LARGE", "RESOURCE_NOT_FOUND"}
GATEWAY_RESPONSES |= {"THROTTLED", "UNAUTHORIZED", "UNSUPPORTED_MEDIA_TYPE", "WAF_FILTERED"}
"""API Gateway developer guide, "Gateway response types for API Gateway"."""

SENSITIVE = re.compile(r"query|body|path|sourceIp|userAgent|header|resourcePath|extendedRequestId|caller|user", re.I)


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(way) or "defaults")
def way(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return the template, resolved for one configuration."""
    return deployed(**request.param)


@pytest.mark.parametrize(
    ("role", "granted"),
    [
        (
            "ApiRole",
            {
                "logs:CreateLogStream <ApiLogs.Arn>",
                "logs:PutLogEvents <ApiLogs.Arn>",
                "s3:ListBucket <InputBucket.Arn>",
                "s3:ListBucket <OutputBucket.Arn>",
                "s3:PutObject <InputBucket.Arn>/jobs/*",
                "s3:GetObject <OutputBucket.Arn>/jobs/*",
                "s3:PutObject <OutputBucket.Arn>/jobs/*",
            },
        ),
        (
            "BatchRole",
            {
                "logs:CreateLogStream <BatchLogs.Arn>",
                "logs:PutLogEvents <BatchLogs.Arn>",
                "sqs:ChangeMessageVisibility <FilmQueue.Arn>",
                "sqs:DeleteMessage <FilmQueue.Arn>",
                "sqs:GetQueueAttributes <FilmQueue.Arn>",
                "sqs:ReceiveMessage <FilmQueue.Arn>",
                "s3:ListBucket <InputBucket.Arn>",
                "s3:ListBucket <OutputBucket.Arn>",
                "s3:GetObject <InputBucket.Arn>/*",
                "s3:GetObjectVersion <InputBucket.Arn>/*",
                "s3:DeleteObject <OutputBucket.Arn>/*",
                "s3:GetObject <OutputBucket.Arn>/*",
                "s3:PutObject <OutputBucket.Arn>/*",
            },
        ),
    ],
)
def test_function_has_only_listed_permissions(role: str, granted: set[str]) -> None:
    policies = of(deployed(), "AWS::IAM::Role")[role]["Policies"]
    found = {
        f"{action} {resource}"
        for policy in policies
        for each in policy["PolicyDocument"]["Statement"]
        for action, resource in itertools.product(listed(each["Action"]), listed(each["Resource"]))
    }
    assert found == granted


def test_api_function_lists_only_jobs() -> None:
    (policy,) = of(deployed(), "AWS::IAM::Role")["ApiRole"]["Policies"]
    (listing,) = [each for each in policy["PolicyDocument"]["Statement"] if each["Action"] == "s3:ListBucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": "jobs/*"}}


def test_auth_parameter_selects_the_authorizer() -> None:
    for way in ({"Auth": "api-key"}, {"Auth": "iam"}, {"Auth": "jwt", "UserPoolArn": POOL}):
        template = deployed(**way)
        body = template["Resources"]["Api"]["Properties"]["DefinitionBody"]
        assert body["paths"]["/{proxy+}"]["x-amazon-apigateway-any-method"]["security"] == [{way["Auth"]: []}]
        assert ("UsagePlan" in template["Resources"]) == (way["Auth"] == "api-key")
    assert body["securityDefinitions"]["jwt"]["x-amazon-apigateway-authorizer"]["providerARNs"] == [POOL]


def test_gateway_errors_are_problem_documents(way: dict[str, Any]) -> None:
    body = way["Resources"]["Api"]["Properties"]["DefinitionBody"]
    responses = body["x-amazon-apigateway-gateway-responses"]
    assert set(responses) == GATEWAY_RESPONSES
    for each in responses.values():
        assert "'application/problem+json'" in each["responseParameters"].values()
        text = each["responseTemplates"]["application/json"].replace("$context.error.messageString", '"Forbidden"')
        problem = json.loads(text)
        assert set(problem) == {"type", "title", "status", "detail", "code", "remedy"}
        assert problem["type"].endswith(f":{problem['code']}")
        assert problem["status"] == each["statusCode"]


def test_access_logs_hold_no_personal_data(way: dict[str, Any]) -> None:
    api = way["Resources"]["Api"]["Properties"]
    log = json.loads(api["AccessLogSetting"]["Format"])
    assert not [value for value in log.values() if SENSITIVE.search(value.removeprefix("$context."))]
    (settings,) = api["MethodSettings"]
    assert (settings["LoggingLevel"], settings["DataTraceEnabled"]) == ("OFF", False)
    assert {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= set(settings)
    assert api["BinaryMediaTypes"] == ["*~1*"]


def test_buckets_are_retained_and_objects_expire(way: dict[str, Any]) -> None:
    buckets = of(way, "AWS::S3::Bucket")
    assert set(buckets) == {"InputBucket", "OutputBucket"}
    for name, bucket in buckets.items():
        rules = bucket["LifecycleConfiguration"]["Rules"]
        assert any("AbortIncompleteMultipartUpload" in each for each in rules)
        assert any(each.get("Prefix") == "jobs/" and "ExpirationInDays" in each for each in rules)
        # No image has a key or an output under a prefix that expires: see the next test, and `Outputs.of`.
        prefixes = {each["Prefix"] for each in rules if "Prefix" in each}
        assert prefixes == ({JOBS_PREFIX, MARKERS_PREFIX, REPORTS_PREFIX} if name == "OutputBucket" else {JOBS_PREFIX})
        assert len(bucket["BucketName"]) <= 63
        assert way["Resources"][name]["DeletionPolicy"] == way["Resources"][name]["UpdateReplacePolicy"] == "Retain"
    assert buckets["InputBucket"]["VersioningConfiguration"] == {"Status": "Enabled"}


def test_jobs_prefix_takes_only_presigned_uploads(way: dict[str, Any]) -> None:
    policy = way["Resources"]["InputBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (denied,) = [each for each in policy if each["Sid"] == "JobsByTheApiAlone"]
    assert (denied["Effect"], denied["Principal"], denied["Action"]) == ("Deny", "*", "s3:PutObject")
    assert denied["Resource"] == f"<InputBucket.Arn>/{JOBS_PREFIX}*"
    assert denied["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": "<ApiRole.Arn>"}}


def test_cors_allows_only_the_upload_origin() -> None:
    assert not any("CorsConfiguration" in each for each in of(deployed(), "AWS::S3::Bucket").values())
    buckets = of(deployed(UploadOrigin="https://example.org"), "AWS::S3::Bucket")
    (rule,) = buckets["InputBucket"]["CorsConfiguration"]["CorsRules"]
    assert (rule["AllowedMethods"], rule["AllowedOrigins"]) == (["POST"], ["https://example.org"])
    assert "CorsConfiguration" not in buckets["OutputBucket"]


def test_jobs_reach_the_queue_with_any_prefix() -> None:
    for prefix, expected in (("", [None]), ("in/", ["in/", "jobs/"])):
        notification = of(deployed(FilmPrefix=prefix), "AWS::S3::Bucket")["InputBucket"]["NotificationConfiguration"]
        filters = [each.get("Filter") for each in notification["QueueConfigurations"]]
        assert [each and each["S3Key"]["Rules"][0]["Value"] for each in filters] == expected


@pytest.mark.parametrize("seconds", [60, 120, 300, 600, 900])
def test_visibility_timeout_is_six_timeouts_and_the_batch_window(seconds: int) -> None:
    template = deployed(BatchTimeout=seconds)
    source = template["Resources"]["BatchFunction"]["Properties"]["Events"]["Films"]["Properties"]
    queues = of(template, "AWS::SQS::Queue")
    assert queues["FilmQueue"]["VisibilityTimeout"] >= 6 * seconds + source["MaximumBatchingWindowInSeconds"]
    assert queues["FilmQueue"]["RedrivePolicy"]["maxReceiveCount"] >= 5
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert int(source["ScalingConfig"]["MaximumConcurrency"]) >= 2
    # The backfill waits longer than the function can take.
    machine = json.loads(template["Resources"]["BackfillStateMachine"]["Properties"]["DefinitionString"])
    tasks = [each["ItemProcessor"]["States"]["Segment"] for each in machine["States"].values() if each["Type"] == "Map"]
    assert len(tasks) == 2
    assert all(task["TimeoutSeconds"] > seconds for task in tasks)


def test_queue_accepts_only_the_input_bucket(way: dict[str, Any]) -> None:
    bucket = way["Resources"]["InputBucket"]["Properties"]["BucketName"]
    policy = way["Resources"]["FilmQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    (allowed,) = [each for each in policy if each["Effect"] == "Allow"]
    assert allowed["Condition"]["ArnEquals"] == {"aws:SourceArn": f"arn:aws:s3:::{bucket}"}
    assert allowed["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_alarms_and_dashboard_cover_the_metrics(way: dict[str, Any]) -> None:
    alarms = of(way, "AWS::CloudWatch::Alarm").values()
    found = {(each["MetricName"], next(iter(each["Dimensions"]))["Value"]) for each in alarms}
    assert {
        ("ApproximateAgeOfOldestMessage", "<FilmQueue.QueueName>"),
        ("ExecutionsFailed", "BackfillStateMachine"),
    } <= found
    assert {each.get("ExtendedStatistic") for each in alarms if each["MetricName"] == "Duration"} == {"p99"}
    assert all(each["AlarmActions"] == (["AlarmTopic"] if "AlarmTopic" in way["Resources"] else []) for each in alarms)
    assert json.loads(way["Resources"]["Dashboard"]["Properties"]["DashboardBody"])["widgets"]


def test_parameters_are_described_bounded_and_grouped() -> None:
    template = load()
    for name, each in template["Parameters"].items():
        assert each["Description"].endswith("."), name
        assert {"AllowedPattern", "AllowedValues", "MinValue"} & set(each), name
        default = str(each["Default"])
        assert re.fullmatch(each.get("AllowedPattern", ".*"), default), name
        assert default in map(str, each.get("AllowedValues", [default])), name
    groups = template["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(itertools.chain(*(each["Parameters"] for each in groups))) == sorted(template["Parameters"])
    assert all("Description" in each for each in template["Outputs"].values())


def test_example_request_has_credentials() -> None:
    for way, sign in (
        ({}, "x-api-key"),
        ({"Auth": "iam"}, "--aws-sigv4"),
        ({"Auth": "jwt", "UserPoolArn": POOL}, "Authorization"),
    ):
        outputs = deployed(**way)["Outputs"]
        assert set(outputs) == OUTPUTS - (set() if not way else {"ApiKeyId"})
        assert sign in outputs["Curl"]["Value"]
        assert outputs["ApiUrl"]["Value"] in outputs["Curl"]["Value"]


def test_functions_get_the_handlers_settings() -> None:
    template = deployed(ModelBucket="models", ModelKey="a/b.onnx", ModelSha256="0" * 64)
    common = template["Globals"]["Function"]["Environment"]["Variables"]
    assert (common["LUNG_MODEL"], common["LUNG_MODEL_SHA256"]) == ("s3://models/a/b.onnx", "0" * 64)
    assert "LUNG_MODEL_SHA256" not in deployed()["Globals"]["Function"]["Environment"]["Variables"]
    doors = {
        each["Environment"]["Variables"]["LUNG_DOOR"] for each in of(template, "AWS::Serverless::Function").values()
    }
    assert doors == {serverless.HTTP, serverless.RECORDS}
    modules = (file for package in ("app", "lungseg") for file in (ROOT / package).rglob("*.py"))
    named = set(re.findall(r"LUNG_[A-Z0-9_]+", " ".join(file.read_text() for file in modules)))
    assert set(common) - {name for name in common if not name.startswith("LUNG_")} <= named
