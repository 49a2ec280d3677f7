"""boto3 with the caller's own credentials: clients, errors, and the outputs of a stack."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lungseg.remote import errors


def aws_session(region: str | None = None) -> Any:
    """Return a boto3 session; without a region, that of the AWS configuration.

    Raises:
        AwsError: the configuration names a profile that does not exist.
    """
    import boto3

    with aws_errors("The AWS configuration cannot be used"):
        return boto3.session.Session(region_name=region)


def aws_client(service: str, region: str | None = None, session: Any = None) -> Any:
    """Return a boto3 client of a service.

    Args:
        session: a session to reuse, because creating one is slow; None creates one.

    Raises:
        AwsError: no region is configured.
    """
    from botocore.config import Config

    settings = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=10, read_timeout=60)
    session = session or aws_session(region)
    with aws_errors(f"No {service} client can be created"):
        return session.client(service, config=settings)


@contextlib.contextmanager
def aws_errors(failure: str) -> Iterator[None]:
    """Translate boto3's exceptions within the block into errors that quote no bucket, key or credential.

    Args:
        failure: what failed, as the beginning of a sentence.

    Raises:
        AwsError: AWS returned an error, or the request could not be made.
        Unreachable.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        NoCredentialsError,
        NoRegionError,
        PartialCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        code = aws_error_code(error) or "an error"
        raise errors.AwsError(f"{failure}: {error.operation_name} returned {code}.", code) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise errors.AwsError(f"{failure}: there are no AWS credentials.") from None
    except NoRegionError:
        raise errors.AwsError(f"{failure}: no region is configured.") from None
    except HTTPClientError:
        raise errors.Unreachable(f"{failure}: AWS cannot be reached.") from None
    except BotoCoreError as error:
        raise errors.AwsError(f"{failure} ({type(error).__name__}).") from None


def aws_error_code(error: BaseException) -> str:
    """The code of what AWS answered, as "NoSuchBucketPolicy"; empty if it was no answer of AWS's."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


@dataclass(frozen=True)
class Stack:
    """A deployed CloudFormation stack.

    Attributes:
        name: of the stack.
        region: None is that of the AWS configuration.
        outputs: values by key.
    """

    name: str
    region: str | None
    outputs: dict[str, str]

    @classmethod
    def describe(cls, name: str, region: str | None = None) -> Stack:
        """Look up a stack by its name.

        Raises:
            AwsError: it does not exist, or the caller may not describe it.
            Unreachable.
        """
        cloudformation = aws_client("cloudformation", region)
        with aws_errors("The stack cannot be described"):
            (stack,) = cloudformation.describe_stacks(StackName=name)["Stacks"]
        return cls(name, region, {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])})

    def output(self, key: str) -> str:
        """Return one output.

        Raises:
            AwsError: the stack has no such output.
        """
        if not self.outputs.get(key):
            raise errors.AwsError(
                f"The stack has no output {key}: it was not made from template.yaml, or its deployment failed."
            )
        return self.outputs[key]

    def client(self, service: str) -> Any:
        """Return a boto3 client of a service in the stack's region."""
        return aws_client(service, self.region, self._session)

    @cached_property
    def _session(self) -> Any:
        return aws_session(self.region)

    def api_key(self) -> str:
        """Return the stack's API key; empty if it has none, as with IAM or JWT authorisation.

        Raises:
            AwsError: the caller may not read it.
        """
        key_id = self.outputs.get("ApiKeyId", "")
        if not key_id:
            return ""
        gateway = self.client("apigateway")
        with aws_errors("The stack's API key cannot be read"):
            return str(gateway.get_api_key(apiKey=key_id, includeValue=True)["value"])
