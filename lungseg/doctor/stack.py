"""Is a stack set up as it should be, as far as AWS tells? What the caller may not look at is a warning."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lungseg.doctor.installation import CheckResult
from lungseg.remote.aws import Stack, aws_error_code, aws_errors
from lungseg.remote.errors import AwsRefused

STACK_OUTPUTS = (
    "ApiUrl",
    "ApiFunctionName",
    "BatchFunctionName",
    "InputBucketName",
    "OutputBucketName",
    "QueueUrl",
    "DeadLetterQueueUrl",
    "BackfillStateMachineArn",
)
"""ApiKeyId is left out: a stack with IAM or JWT authorisation has none."""

DENIED_CODES = ("AccessDenied", "NotAuthorized", "Unauthorized", "Forbidden")
"""In the code with which AWS keeps a caller from looking."""

REDEPLOY = "Deploy template.yaml again; somebody has changed it by hand."


def check_stack(stack: Stack) -> Iterator[CheckResult]:
    """All of them, in the order in which an image passes."""
    missing = [name for name in STACK_OUTPUTS if not stack.outputs.get(name)]
    if missing:
        remedy = "Name the stack that template.yaml of this version was deployed as, or deploy it again."
        yield CheckResult("stack outputs", "failed", f"it has no {', '.join(missing)}", remedy)
        return
    yield CheckResult("stack outputs", "ok", f"all {len(STACK_OUTPUTS)} are there")
    checks: list[tuple[str, Callable[[], Iterator[CheckResult]]]] = [
        ("input bucket", lambda: _bucket(stack, "input bucket", stack.output("InputBucketName"))),
        ("output bucket", lambda: _bucket(stack, "output bucket", stack.output("OutputBucketName"))),
        ("trigger", lambda: _trigger(stack)),
        ("batch function", lambda: _source(stack)),
        ("dead letters", lambda: _dead_letters(stack)),
    ]
    for name, check in checks:
        try:
            with aws_errors("it cannot be looked at"):
                yield from check()
        except AwsRefused as error:
            closed = any(word in error.answer for word in DENIED_CODES)
            yield CheckResult(name, "warning" if closed else "failed", error.detail.rstrip("."), error.remedy)


def _bucket(stack: Stack, name: str, bucket: str) -> Iterator[CheckResult]:
    storage = stack.client("s3")
    block = _ask(storage.get_public_access_block, bucket, "NoSuchPublicAccessBlockConfiguration")
    shut = block is not None and all(block["PublicAccessBlockConfiguration"].values())
    text = "the public is kept out" if shut else "public access is not blocked altogether"
    yield CheckResult(f"{name}, public access", *_verdict(shut, text))

    policy = _ask(storage.get_bucket_policy, bucket, "NoSuchBucketPolicy")
    shut = policy is not None and _denies_plain_http(json.loads(policy["Policy"]))
    text = "plain HTTP is refused" if shut else "images may travel unencrypted: no policy refuses plain HTTP"
    yield CheckResult(f"{name}, TLS", *_verdict(shut, text))

    rules = _ask(storage.get_bucket_encryption, bucket, "ServerSideEncryptionConfigurationNotFoundError")
    found = [
        rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"]
        for rule in (rules or {}).get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
        if "ApplyServerSideEncryptionByDefault" in rule
    ]
    text = f"objects are encrypted ({', '.join(found)})" if found else "no encryption is set"
    yield CheckResult(f"{name}, encryption", *_verdict(bool(found), text))


def _verdict(good: bool, text: str) -> Any:
    """State, text and remedy of a check that template.yaml sees to."""
    return ("ok", text) if good else ("failed", text, REDEPLOY)


def _ask(call: Callable[..., Any], bucket: str, absent: str) -> Any:
    """What is set on a bucket; None if nothing is."""
    try:
        return call(Bucket=bucket)
    except Exception as error:
        if aws_error_code(error) == absent:
            return None
        raise


def _denies_plain_http(policy: dict[str, Any]) -> bool:
    for rule in _list(policy.get("Statement", [])):
        condition = rule.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        everyone = rule.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        everything = "s3:*" in _list(rule.get("Action", [])) or "*" in _list(rule.get("Action", []))
        if rule.get("Effect") == "Deny" and everyone and everything and str(condition).lower() == "false":
            return True
    return False


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _trigger(stack: Stack) -> Iterator[CheckResult]:
    queue = _attributes(stack, "QueueUrl")["QueueArn"]
    settings = stack.client("s3").get_bucket_notification_configuration(Bucket=stack.output("InputBucketName"))
    here = [each for each in settings.get("QueueConfigurations", []) if each["QueueArn"] == queue]
    created = [each for each in here if any(name.startswith("s3:ObjectCreated:") for name in each["Events"])]
    if not created:
        if "EventBridgeConfiguration" in settings:
            text = "new images are told to EventBridge; whether a rule leads on to the queue is not looked at"
            yield CheckResult(
                "trigger", "warning", text, "Look at EventBridge's rules, or use the bucket's notification."
            )
        else:
            yield CheckResult("trigger", "failed", "new images are not told to the stack's queue", REDEPLOY)
        return
    filters = [_filter(each) for each in created]
    all_images = any("s3:ObjectCreated:*" in each["Events"] for each in created)
    if not all_images:
        events = ", ".join(sorted({name for each in created for name in each["Events"]}))
        yield CheckResult("trigger", "warning", f"of new images only {events} are told", REDEPLOY)
    else:
        yield CheckResult("trigger", "ok", f"new images are told to the queue: {' and '.join(filters)}")
    if not any(_matches(each, "jobs/x/film") for each in created):
        yield CheckResult(
            "trigger, jobs", "failed", "its filter leaves out the images of jobs (jobs/ID/film)", REDEPLOY
        )


def _rules(configuration: dict[str, Any]) -> dict[str, str]:
    rules = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    return {rule["Name"].lower(): rule["Value"] for rule in rules}


def _filter(configuration: dict[str, Any]) -> str:
    rules = _rules(configuration)
    told = [f"{name} {json.dumps(rules[name])}" for name in ("prefix", "suffix") if rules.get(name)]
    return " and ".join(told) or "all of them"


def _matches(configuration: dict[str, Any], key: str) -> bool:
    rules = _rules(configuration)
    return key.startswith(rules.get("prefix", "")) and key.endswith(rules.get("suffix", ""))


def _source(stack: Stack) -> Iterator[CheckResult]:
    queue = _attributes(stack, "QueueUrl")["QueueArn"]
    sources = stack.client("lambda").list_event_source_mappings(FunctionName=stack.output("BatchFunctionName"))
    found = next((each for each in sources["EventSourceMappings"] if each.get("EventSourceArn") == queue), None)
    if found is None or found.get("State") not in ("Enabled", "Enabling", "Updating", "Creating"):
        yield CheckResult("batch function", "failed", "it does not take images from the queue", REDEPLOY)
    elif "ReportBatchItemFailures" not in found.get("FunctionResponseTypes", []):
        text = "one image that fails makes all of its batch come again (no ReportBatchItemFailures)"
        yield CheckResult("batch function", "failed", text, REDEPLOY)
    else:
        yield CheckResult(
            "batch function", "ok", "it takes images from the queue, and gives back those alone that fail"
        )


def _dead_letters(stack: Stack) -> Iterator[CheckResult]:
    url, dead = stack.output("DeadLetterQueueUrl"), _attributes(stack, "DeadLetterQueueUrl")
    policy = json.loads(_attributes(stack, "QueueUrl").get("RedrivePolicy", "{}"))
    if policy.get("deadLetterTargetArn") != dead["QueueArn"]:
        yield CheckResult("dead letters", "failed", "the queue has no dead-letter queue, or another one", REDEPLOY)
        return
    count = int(dead["ApproximateNumberOfMessages"])
    if not count:
        yield CheckResult("dead letters", "ok", f"none; an image is tried {policy.get('maxReceiveCount')} times")
        return
    remedy = (
        f"Look: aws sqs receive-message --visibility-timeout 0 --queue-url {url} ; the function's log has the causes. "
        f"Once they are mended: aws sqs start-message-move-task --source-arn {dead['QueueArn']}"
    )
    yield CheckResult("dead letters", "warning", f"{count:,} image{'s' * (count != 1)} could not be done", remedy)


def _attributes(stack: Stack, output: str) -> dict[str, str]:
    queue = stack.client("sqs").get_queue_attributes(QueueUrl=stack.output(output), AttributeNames=["All"])
    if "QueueArn" not in queue.get("Attributes", {}):
        raise AwsRefused("The queue tells nothing of itself.")
    return dict(queue["Attributes"])
