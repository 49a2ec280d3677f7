"""Check a stack on AWS. What the caller may not read is a warning.

For changes made by hand, CloudFormation's drift detection is more complete. These checks need no rights to it, and
cover what would otherwise go unnoticed: open buckets, images that are never processed, and dead letters.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from lungseg.doctor.installation import CheckResult
from lungseg.remote.aws import Stack, aws_error_code, aws_errors
from lungseg.remote.errors import AwsError

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
"""Without ApiKeyId, which a stack with IAM or JWT authorisation lacks."""

DENIED_CODES = ("AccessDenied", "NotAuthorized", "Unauthorized", "Forbidden")
"""Parts of the codes with which AWS denies access."""

REDEPLOY = (
    "Deploy template.yaml again: somebody changed the stack by hand. "
    "`aws cloudformation detect-stack-drift` shows all such changes."
)


def check_stack(stack: Stack) -> Iterator[CheckResult]:
    """Run all checks, in the order in which an image passes the stack's parts."""
    missing = [name for name in STACK_OUTPUTS if not stack.outputs.get(name)]
    if missing:
        remedy = "Name a stack that was deployed from this version's template.yaml, or deploy it again."
        yield CheckResult("stack outputs", "failed", f"missing: {', '.join(missing)}", remedy)
        return
    yield CheckResult("stack outputs", "ok", f"all {len(STACK_OUTPUTS)} present")
    checks: list[tuple[str, Callable[[], CheckResult]]] = [
        ("input bucket", lambda: _check_bucket(stack, "input bucket", stack.output("InputBucketName"))),
        ("output bucket", lambda: _check_bucket(stack, "output bucket", stack.output("OutputBucketName"))),
        ("trigger", lambda: _check_trigger(stack)),
        ("batch function", lambda: _check_event_source(stack)),
        ("dead letters", lambda: _check_dead_letters(stack)),
    ]
    for name, check in checks:
        try:
            with aws_errors("it cannot be read"):
                yield check()
        except AwsError as error:
            is_denied = any(word in error.aws_code for word in DENIED_CODES)
            yield CheckResult(name, "warning" if is_denied else "failed", error.detail.rstrip("."), error.remedy)


def _check_bucket(stack: Stack, name: str, bucket: str) -> CheckResult:
    """Check for public access and plain HTTP. Encryption needs no check: S3 encrypts every object since 2023."""
    storage = stack.client("s3")
    block = _read_setting(storage.get_public_access_block, bucket, "NoSuchPublicAccessBlockConfiguration")
    policy = _read_setting(storage.get_bucket_policy, bucket, "NoSuchBucketPolicy")
    problems = []
    if block is None or not all(block["PublicAccessBlockConfiguration"].values()):
        problems.append("public access is not fully blocked")
    if policy is None or not _denies_plain_http(json.loads(policy["Policy"])):
        problems.append("no policy denies plain HTTP")
    if problems:
        return CheckResult(name, "failed", "; ".join(problems), REDEPLOY)
    return CheckResult(name, "ok", "public access and plain HTTP are blocked")


def _read_setting(call: Callable[..., Any], bucket: str, absent_code: str) -> Any:
    """Return a setting of a bucket; None if it has none."""
    try:
        return call(Bucket=bucket)
    except Exception as error:
        if aws_error_code(error) == absent_code:
            return None
        raise


def _denies_plain_http(policy: dict[str, Any]) -> bool:
    for rule in _as_list(policy.get("Statement", [])):
        condition = rule.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport")
        everyone = rule.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        actions = _as_list(rule.get("Action", []))
        is_denied = rule.get("Effect") == "Deny" and ("s3:*" in actions or "*" in actions)
        if is_denied and everyone and str(condition).lower() == "false":
            return True
    return False


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_trigger(stack: Stack) -> CheckResult:
    """Check that S3 notifies the queue of every new object, those of jobs included."""
    queue = _queue_attributes(stack, "QueueUrl")["QueueArn"]
    found = stack.client("s3").get_bucket_notification_configuration(Bucket=stack.output("InputBucketName"))
    rules = [
        {rule["Name"].lower(): rule["Value"] for rule in each.get("Filter", {}).get("Key", {}).get("FilterRules", [])}
        for each in found.get("QueueConfigurations", [])
        if each["QueueArn"] == queue and "s3:ObjectCreated:*" in each["Events"]
    ]
    if any("jobs/x/film".startswith(each.get("prefix", "")) and not each.get("suffix") for each in rules):
        prefixes = " and ".join(json.dumps(each.get("prefix", "")) for each in rules)
        return CheckResult("trigger", "ok", f"new objects are sent to the queue, for the prefixes {prefixes}")
    if rules:
        return CheckResult("trigger", "failed", "images of jobs (jobs/ID/film) are not sent to the queue", REDEPLOY)
    if "EventBridgeConfiguration" in found:
        text = "new objects are sent to EventBridge; whether a rule forwards them to the queue is not checked"
        return CheckResult("trigger", "warning", text, "Check EventBridge's rules, or use the bucket's notification.")
    return CheckResult("trigger", "failed", "new objects are not all sent to the queue", REDEPLOY)


def _check_event_source(stack: Stack) -> CheckResult:
    queue = _queue_attributes(stack, "QueueUrl")["QueueArn"]
    sources = stack.client("lambda").list_event_source_mappings(FunctionName=stack.output("BatchFunctionName"))
    found = next((each for each in sources["EventSourceMappings"] if each.get("EventSourceArn") == queue), None)
    if found is None or found.get("State") not in ("Enabled", "Enabling", "Updating", "Creating"):
        return CheckResult("batch function", "failed", "it does not receive images from the queue", REDEPLOY)
    if "ReportBatchItemFailures" not in found.get("FunctionResponseTypes", []):
        text = "one failed image makes SQS send its whole batch again (no ReportBatchItemFailures)"
        return CheckResult("batch function", "failed", text, REDEPLOY)
    return CheckResult("batch function", "ok", "it receives images from the queue, and only failed ones are retried")


def _check_dead_letters(stack: Stack) -> CheckResult:
    url, dead = stack.output("DeadLetterQueueUrl"), _queue_attributes(stack, "DeadLetterQueueUrl")
    policy = json.loads(_queue_attributes(stack, "QueueUrl").get("RedrivePolicy", "{}"))
    if policy.get("deadLetterTargetArn") != dead["QueueArn"]:
        return CheckResult("dead letters", "failed", "the queue has another dead-letter queue, or none", REDEPLOY)
    count = int(dead["ApproximateNumberOfMessages"])
    if not count:
        text = f"none; an image is tried {policy.get('maxReceiveCount')} times"
        return CheckResult("dead letters", "ok", text)
    remedy = (
        f"List them: aws sqs receive-message --visibility-timeout 0 --queue-url {url} ; the function's log has the "
        f"causes. Once fixed: aws sqs start-message-move-task --source-arn {dead['QueueArn']}"
    )
    text = f"{count:,} image{'s' * (count != 1)} could not be processed"
    return CheckResult("dead letters", "warning", text, remedy)


def _queue_attributes(stack: Stack, output: str) -> dict[str, str]:
    queue = stack.client("sqs").get_queue_attributes(QueueUrl=stack.output(output), AttributeNames=["All"])
    if "QueueArn" not in queue.get("Attributes", {}):
        raise AwsError("SQS returned no attributes of the queue.")
    return dict(queue["Attributes"])
