"""The policy for template.yaml, for every way to deploy it; each rule is also run on a template that breaks it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cloudformation import WAYS, decided, deployed, listed, load, of, statements
from ledger import Ledger

Template = dict[str, Any]
Rule = Callable[[Template], dict[str, bool]]
"""Returns each thing that it checks, and whether that is right."""

WHOLE_RESOURCES = {"Trace": "X-Ray's two actions know no resource; granted where tracing is switched on"}
"""Statements that may apply to all resources, and why."""

BEHIND_A_NAME = re.compile(r"(<[^*>]+>|arn:[^:*]+:[^:*]+:[^:*]*:[^:*]*:[^*]*[^*:/])(/[^*]+)?(/\*|:\*|/\*:\*)?")
"""A wildcard may follow a named resource: objects of a bucket, streams of a log, executions of a state machine."""

SECRET = re.compile(r"SECRET|TOKEN|PASSW|CREDENTIAL|PRIVATE|(?<!ROUTING)KEY", re.I)
SECRET_VALUE = re.compile(r"AKIA[0-9A-Z]{16}|-----BEGIN|[A-Za-z0-9/+]{40}|resolve:(ssm-secure|secretsmanager)")
DIGEST = re.compile(r"[0-9a-f]{64}")

FUNCTION_ALARMS = ("Errors", "Throttles", "Duration")
OPEN_ROUTES = {("/health", "get"): "load balancers and monitors have no key"}


def documents(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the statements of every bucket and queue policy, with the name of the bucket or queue."""
    for each in of(template, "AWS::S3::BucketPolicy").values():
        yield from ((each["Bucket"], statement) for statement in each["PolicyDocument"]["Statement"])
    for each in of(template, "AWS::SQS::QueuePolicy").values():
        for queue in each["Queues"]:
            yield from ((queue, statement) for statement in each["PolicyDocument"]["Statement"])


def stores(template: Template) -> dict[str, dict[str, Any]]:
    """Return buckets and queues."""
    return of(template, "AWS::S3::Bucket") | of(template, "AWS::SQS::Queue")


def no_wildcard_action(template: Template) -> dict[str, bool]:
    return {
        f"{each.get('Sid')} {action}": each["Effect"] == "Allow" and "*" not in action
        for each in statements(template)
        for action in listed(each["Action"])
    }


def no_wildcard_resource(template: Template) -> dict[str, bool]:
    return {
        f"{each.get('Sid')} {resource}": each.get("Sid") in WHOLE_RESOURCES or bool(BEHIND_A_NAME.fullmatch(resource))
        for each in statements(template)
        for resource in listed(each["Resource"])
    }


def only_managed_policies_of_the_gateway(template: Template) -> dict[str, bool]:
    """A managed policy is written by AWS, with wildcards that AWS chose."""
    return {
        name: name == "ApiGatewayRole" or "ManagedPolicyArns" not in role
        for name, role in of(template, "AWS::IAM::Role").items()
    }


def roles_are_for_one_service(template: Template) -> dict[str, bool]:
    return {
        name: all(
            set(each["Principal"]) == {"Service"} and isinstance(each["Principal"]["Service"], str)
            for each in role["AssumeRolePolicyDocument"]["Statement"]
        )
        for name, role in of(template, "AWS::IAM::Role").items()
    }


def tls_only(template: Template) -> dict[str, bool]:
    """Buckets and queues deny everything to requests without TLS."""
    found = {}
    for name in stores(template):
        bucket = name in of(template, "AWS::S3::Bucket")
        found[name] = any(
            owner == name
            and (each["Effect"], each["Principal"]) == ("Deny", "*")
            and each["Action"] == ("s3:*" if bucket else "sqs:*")
            and each["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            and set(listed(each["Resource"])) >= ({f"<{name}.Arn>", f"<{name}.Arn>/*"} if bucket else {f"<{name}.Arn>"})
            for owner, each in documents(template)
        )
    return found


def tls_of_1_2(template: Template) -> dict[str, bool]:
    return {
        name: any(
            owner == name
            and (each["Effect"], each["Principal"], each["Action"]) == ("Deny", "*", "s3:*")
            and each["Condition"] == {"NumericLessThan": {"s3:TlsVersion": "1.2"}}
            for owner, each in documents(template)
        )
        for name in of(template, "AWS::S3::Bucket")
    }


def public_access_blocked(template: Template) -> dict[str, bool]:
    four = {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    return {
        name: {key for key, value in bucket.get("PublicAccessBlockConfiguration", {}).items() if value is True} == four
        and bucket.get("OwnershipControls") == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        for name, bucket in of(template, "AWS::S3::Bucket").items()
    }


def nobody_is_let_in_by_a_policy(template: Template) -> dict[str, bool]:
    """Except S3, which notifies the queue of images in this account's bucket."""
    found = {}
    for owner, each in documents(template):
        told = (each["Principal"], each["Action"]) == ({"Service": "s3.amazonaws.com"}, "sqs:SendMessage")
        bound = {"ArnEquals", "StringEquals"} <= set(each.get("Condition", {}))
        found[f"{owner} {each.get('Sid')}"] = each["Effect"] == "Deny" or (told and bound)
    return found


def encrypted(template: Template) -> dict[str, bool]:
    found = {name: queue.get("SqsManagedSseEnabled") is True for name, queue in of(template, "AWS::SQS::Queue").items()}
    for name, bucket in of(template, "AWS::S3::Bucket").items():
        rules = bucket.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", [])
        kinds = [each["ServerSideEncryptionByDefault"] for each in rules]
        with_key = "UseKey" in {each.get("Sid") for each in statements(template)}
        found[name] = [each["SSEAlgorithm"] for each in kinds] == (["aws:kms"] if with_key else ["AES256"]) and all(
            ("KMSMasterKeyID" in each) == with_key for each in kinds
        )
    return found


def dead_letters_are_kept(template: Template) -> dict[str, bool]:
    """Every queue but the last has a dead-letter queue, with longer retention and an alarm."""
    queues = of(template, "AWS::SQS::Queue")
    last = {
        name: each["RedrivePolicy"]["deadLetterTargetArn"] for name, each in queues.items() if "RedrivePolicy" in each
    }
    watched = {
        value["Value"]
        for alarm in of(template, "AWS::CloudWatch::Alarm").values()
        for value in alarm["Dimensions"]
        if alarm["MetricName"] == "ApproximateNumberOfMessagesVisible"
    }
    read = {
        event["Properties"]["Queue"]
        for function in of(template, "AWS::Serverless::Function").values()
        for event in function.get("Events", {}).values()
        if event["Type"] == "SQS"
    }
    found = {}
    for name in queues:
        if f"<{name}.Arn>" not in read:
            continue
        behind = last.get(name, "").strip("<>").removesuffix(".Arn")
        found[name] = (
            behind in queues
            and queues[behind]["MessageRetentionPeriod"] > queues[name]["MessageRetentionPeriod"]
            and f"<{behind}.QueueName>" in watched
        )
    return found


def alarms_for_each_function(template: Template) -> dict[str, bool]:
    alarms = of(template, "AWS::CloudWatch::Alarm").values()
    found = {
        (each["MetricName"], value["Value"])
        for each in alarms
        for value in each["Dimensions"]
        if each["Namespace"] == "AWS/Lambda"
    }
    return {
        f"{name} {metric}": (metric, name) in found
        for name in of(template, "AWS::Serverless::Function")
        for metric in FUNCTION_ALARMS
    }


def logs_end(template: Template) -> dict[str, bool]:
    """Each function and the API log to a group of this template, and each group has a retention."""
    groups = of(template, "AWS::Logs::LogGroup")
    found = {name: int(each.get("RetentionInDays", 0)) > 0 for name, each in groups.items()}
    for name, each in of(template, "AWS::Serverless::Function").items():
        found[name] = each.get("LoggingConfig", {}).get("LogGroup") in groups
    for name, each in of(template, "AWS::Serverless::Api").items():
        found[name] = each["AccessLogSetting"]["DestinationArn"].strip("<>").removesuffix(".Arn") in groups
    return found


def no_secret_in_the_environment(template: Template) -> dict[str, bool]:
    found = {}
    for name, each in {"Globals": template["Globals"]["Function"], **of(template, "AWS::Serverless::Function")}.items():
        for variable, value in each["Environment"]["Variables"].items():
            plain = bool(DIGEST.fullmatch(str(value))) or not SECRET_VALUE.search(str(value))
            found[f"{name} {variable}"] = plain and not SECRET.search(variable)
    return found


def no_secret_among_the_parameters(template: Template) -> dict[str, bool]:
    return {name: "NoEcho" not in each for name, each in load()["Parameters"].items()}


def every_route_wants_authority(template: Template) -> dict[str, bool]:
    """Except health; the scheme exists, and the gateway accepts TLS only."""
    body = template["Resources"]["Api"]["Properties"]["DefinitionBody"]
    found = {}
    for path, verbs in body["paths"].items():
        for verb, each in verbs.items():
            schemes = [name for one in each.get("security", []) for name in one]
            found[f"{verb} {path}"] = (
                not schemes
                if (path, verb) in OPEN_ROUTES
                else len(schemes) == 1 and schemes[0] in body["securityDefinitions"]
            )
    found["all others"] = "x-amazon-apigateway-any-method" in body["paths"].get("/{proxy+}", {})
    return found


RULES: tuple[Rule, ...] = (
    no_wildcard_action,
    no_wildcard_resource,
    only_managed_policies_of_the_gateway,
    roles_are_for_one_service,
    tls_only,
    tls_of_1_2,
    public_access_blocked,
    nobody_is_let_in_by_a_policy,
    encrypted,
    dead_letters_are_kept,
    alarms_for_each_function,
    logs_end,
    no_secret_in_the_environment,
    no_secret_among_the_parameters,
    every_route_wants_authority,
)


def test_policy_holds_for_every_deployment(ledger: Ledger) -> None:
    asked, broken = 0, []
    for way in WAYS:
        template = deployed(**way)
        for rule in RULES:
            answers = rule(template)
            assert answers, rule.__name__  # a rule that finds nothing to check proves nothing
            asked += len(answers)
            broken += [f"{rule.__name__}: {thing} ({way})" for thing, holds in answers.items() if not holds]
    exceptions = len(WHOLE_RESOURCES) + len(OPEN_ROUTES)
    ledger.enter(
        9,
        "The template follows policy on permissions, TLS, encryption, dead letters, alarms, logs, secrets and access",
        f"{len(RULES)} rules on {len(WAYS)} ways to deploy, {asked:,} answers; {len(BREAKS)} breaches made in memory",
        f"{len(broken)} breaches, {exceptions} exceptions with a reason",
    )
    assert not broken


def test_deployments_take_every_condition_both_ways() -> None:
    for name in load()["Conditions"]:
        assert {decided(**way)[name] for way in WAYS} == {True, False}, name


def put(*path: str | int, value: object) -> Callable[[Template], None]:
    """Return a breach: a property of a resource has another value, or is missing if that is None."""

    def breach(template: Template) -> None:
        name, *inner, last = path
        node = template["Resources"][name]["Properties"]
        for each in inner:
            node = node[each]
        if value is None:
            del node[last]
        else:
            node[last] = value

    return breach


def without(name: str) -> Callable[[Template], None]:
    """Return a breach: a resource is missing."""
    return lambda template: template["Resources"].pop(name)


def allowing(**changes: object) -> Callable[[Template], None]:
    """Return a breach: the first statement of the batch function is another one."""

    def breach(template: Template) -> None:
        template["Resources"]["BatchRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][0] |= changes

    return breach


def variable(name: str, value: str) -> Callable[[Template], None]:
    """Return a breach: the functions get an environment variable."""
    return lambda template: template["Globals"]["Function"]["Environment"]["Variables"].update({name: value})


def route(path: str, security: list[dict[str, list[str]]]) -> Callable[[Template], None]:
    """Return a breach: one more route."""
    add = {path: {"get": {"security": security}}}
    return lambda template: template["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"].update(add)


POLICY = ("PolicyDocument", "Statement", 0)
BREAKS: list[tuple[Rule, str, Callable[[Template], None]]] = [
    (no_wildcard_action, "Log s3:*", allowing(Action="s3:*")),
    (no_wildcard_action, "Log *", allowing(Action=["logs:PutLogEvents", "*"])),
    (no_wildcard_resource, "Log *", allowing(Resource="*")),
    (no_wildcard_resource, "Log arn:aws:s3:*", allowing(Resource="arn:aws:s3:*")),
    (no_wildcard_resource, "Log arn:aws:s3:::*", allowing(Resource=["<BatchLogs.Arn>", "arn:aws:s3:::*"])),
    (
        only_managed_policies_of_the_gateway,
        "ApiRole",
        put("ApiRole", "ManagedPolicyArns", value=["arn:aws:iam::aws:policy/x"]),
    ),
    (
        roles_are_for_one_service,
        "BatchRole",
        put("BatchRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", value={"AWS": "*"}),
    ),
    (tls_only, "InputBucket", without("InputBucketPolicy")),
    (tls_only, "OutputBucket", put("OutputBucketPolicy", *POLICY, "Resource", value=["<OutputBucket.Arn>"])),
    (tls_only, "FilmQueue", put("FilmQueuePolicy", "PolicyDocument", "Statement", 1, "Effect", value="Allow")),
    (tls_only, "DeadLetterQueue", put("DeadLetterQueuePolicy", *POLICY, "Action", value="sqs:SendMessage")),
    (tls_only, "DeadLetterQueue", put("DeadLetterQueuePolicy", "Queues", value=["FilmQueue"])),
    (tls_of_1_2, "InputBucket", put("InputBucketPolicy", "PolicyDocument", "Statement", 1, "Condition", value={})),
    (
        public_access_blocked,
        "InputBucket",
        put("InputBucket", "PublicAccessBlockConfiguration", "BlockPublicPolicy", value=False),
    ),
    (public_access_blocked, "OutputBucket", put("OutputBucket", "PublicAccessBlockConfiguration", value=None)),
    (public_access_blocked, "OutputBucket", put("OutputBucket", "OwnershipControls", value=None)),
    (
        nobody_is_let_in_by_a_policy,
        "OutputBucket OnlyByTls",
        put("OutputBucketPolicy", *POLICY, "Effect", value="Allow"),
    ),
    (
        nobody_is_let_in_by_a_policy,
        "FilmQueue BucketTellsOfFilms",
        put("FilmQueuePolicy", *POLICY, "Principal", value="*"),
    ),
    (
        nobody_is_let_in_by_a_policy,
        "FilmQueue BucketTellsOfFilms",
        put("FilmQueuePolicy", *POLICY, "Condition", value=None),
    ),
    (encrypted, "FilmQueue", put("FilmQueue", "SqsManagedSseEnabled", value=False)),
    (encrypted, "InputBucket", put("InputBucket", "BucketEncryption", value=None)),
    (dead_letters_are_kept, "FilmQueue", put("FilmQueue", "RedrivePolicy", value=None)),
    (dead_letters_are_kept, "FilmQueue", put("DeadLetterQueue", "MessageRetentionPeriod", value=345_600)),
    (dead_letters_are_kept, "FilmQueue", without("DeadLetterQueue")),
    (dead_letters_are_kept, "FilmQueue", without("DeadLetterAlarm")),
    (alarms_for_each_function, "ApiFunction Errors", without("ApiErrorAlarm")),
    (alarms_for_each_function, "BatchFunction Duration", without("BatchSlowAlarm")),
    (logs_end, "ApiLogs", put("ApiLogs", "RetentionInDays", value=None)),
    (logs_end, "BatchFunction", put("BatchFunction", "LoggingConfig", value=None)),
    (logs_end, "Api", without("AccessLogs")),
    (no_secret_in_the_environment, "Globals LUNG_API_TOKEN", variable("LUNG_API_TOKEN", "x")),
    (no_secret_in_the_environment, "Globals LUNG_X", variable("LUNG_X", "AKIA" + "A" * 16)),
    (no_secret_in_the_environment, "Globals LUNG_X", variable("LUNG_X", "{{resolve:ssm-secure:x}}")),
    (every_route_wants_authority, "get /free", route("/free", [])),
    (every_route_wants_authority, "get /free", route("/free", [{"none": []}])),
    (every_route_wants_authority, "get /health", route("/health", [{"api-key": []}])),
]


@pytest.fixture(scope="module")
def template() -> Template:
    return deployed()


@pytest.mark.parametrize(
    ("rule", "thing", "breach"), BREAKS, ids=[f"{rule.__name__}-{number}" for number, (rule, _, _) in enumerate(BREAKS)]
)
def test_breach_is_detected(template: Template, rule: Rule, thing: str, breach: Callable[[Template], None]) -> None:
    broken = copy.deepcopy(template)
    breach(broken)
    assert rule(template).get(thing, True)
    assert rule(broken)[thing] is False


def test_secret_among_the_parameters_is_detected(template: Template, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(load()["Parameters"], "Password", {"Type": "String", "NoEcho": True})
    assert no_secret_among_the_parameters(template)["Password"] is False
