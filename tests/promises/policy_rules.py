"""Rules for template.yaml: each returns what it checks, and whether that is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from cloudformation import listed, load, of, statements

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
