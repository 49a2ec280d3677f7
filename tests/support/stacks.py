"""CloudFormation stacks on a local stand-in for AWS (moto): with outputs only, or with the parts of template.yaml."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import boto3
from buckets import Buckets
from services import Gateway


def create_stack(name: str, **outputs: str) -> None:
    """Create a stack with these outputs."""
    template = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {key: {"Value": value} for key, value in outputs.items()},
    }
    boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))


def create_role(name: str, service: str) -> str:
    """Return the ARN of a role that a service may assume; create it if needed."""
    iam = boto3.client("iam")
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        allowed = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        return str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy)["Role"]["Arn"])


def create_function(name: str, **settings: Any) -> None:
    """Create a Lambda function with an empty program."""
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("serverless.py", "")
    boto3.client("lambda").create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=create_role(f"role-{name}", "lambda"),
        Handler="serverless.handler",
        Code={"ZipFile": code.getvalue()},
        **settings,
    )


class DeployedStack:
    """A stack like template.yaml's: its parts on the stand-in, its API the real one behind a gateway.

    Attributes:
        name: of the stack, and of its queue and its function.
        key: API key of the gateway.
        input_bucket, output_bucket: names of its own buckets. The stand-in takes the policy that denies plain HTTP for
            one that denies everything, so the images of other tests must not be in them.
        queue, dead: URLs of the queues.
    """

    def __init__(self, buckets: Buckets, gateway: Gateway, address: str, key: str) -> None:
        self.name = f"lungs-{buckets.films[-8:]}"
        self.gateway, self.s3, self.key = gateway, buckets.client, key
        self.input_bucket, self.output_bucket = f"{self.name}-in", f"{self.name}-out"
        for bucket in (self.input_bucket, self.output_bucket):
            self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
            self.protect(bucket)
        queues = boto3.client("sqs")
        self.dead = queues.create_queue(QueueName=f"{self.name}-dead")["QueueUrl"]
        policy = json.dumps({"deadLetterTargetArn": _queue_arn(self.dead), "maxReceiveCount": 5})
        self.queue = queues.create_queue(QueueName=self.name, Attributes={"RedrivePolicy": policy})["QueueUrl"]
        self.notify(["in/", "jobs/"])
        create_function(self.name)
        self._event_source = boto3.client("lambda").create_event_source_mapping(
            FunctionName=self.name,
            EventSourceArn=_queue_arn(self.queue),
            FunctionResponseTypes=["ReportBatchItemFailures"],
        )["UUID"]
        create_stack(
            self.name,
            ApiUrl=address,
            ApiKeyId=boto3.client("apigateway").create_api_key(name=self.name, enabled=True, value=key)["id"],
            ApiFunctionName="api",
            BatchFunctionName=self.name,
            InputBucketName=self.input_bucket,
            OutputBucketName=self.output_bucket,
            QueueUrl=self.queue,
            DeadLetterQueueUrl=self.dead,
            BackfillStateMachineArn="arn:aws:states:eu-west-1:123456789012:stateMachine:backfill",
        )

    def protect(self, bucket: str, **change: Any) -> None:
        """Block public access, and deny plain HTTP by a policy with a change."""
        names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        self.s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=dict.fromkeys(names, True))
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        policy = {"Version": "2012-10-17", "Statement": [statement | change]}
        self.s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def notify(self, prefixes: list[str], event: str = "s3:ObjectCreated:*") -> None:
        """Send notifications of new objects below prefixes to the queue."""
        configurations = []
        for prefix in prefixes:
            rules = [{"Name": "prefix", "Value": prefix}]
            key_filter = {"Filter": {"Key": {"FilterRules": rules}}} if prefix else {}
            configurations.append({"QueueArn": _queue_arn(self.queue), "Events": [event]} | key_filter)
        self.s3.put_bucket_notification_configuration(
            Bucket=self.input_bucket, NotificationConfiguration={"QueueConfigurations": configurations}
        )

    def disconnect_function(self) -> None:
        """Delete the mapping from the queue to the function."""
        boto3.client("lambda").delete_event_source_mapping(UUID=self._event_source)


def _queue_arn(url: str) -> str:
    answer = boto3.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return str(answer["Attributes"]["QueueArn"])
