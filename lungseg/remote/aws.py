"""AWS from a workstation, with the caller's own credentials: clients, its failures as refusals, a stack's outputs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lungseg.remote import errors


def aws_session(region: str | None = None) -> Any:
    """boto3's session of a region; None is the one of its own settings.

    Raises:
        AwsRefused: those settings name a profile that is not there.
    """
    import boto3

    with aws_errors("AWS's settings cannot be used"):
        return boto3.session.Session(region_name=region)


def aws_client(service: str, region: str | None = None, session: Any = None) -> Any:
    """boto3's client of a service.

    Args:
        session: the session that it is of, which is slow to make; None makes one.

    Raises:
        AwsRefused: no region is known.
    """
    from botocore.config import Config

    settings = Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=10, read_timeout=60)
    session = session or aws_session(region)
    with aws_errors(f"There is no client for {service}"):
        return session.client(service, config=settings)


@contextlib.contextmanager
def aws_errors(what: str) -> Iterator[None]:
    """Where AWS is asked: its failures become refusals that name no bucket, key or credential.

    Args:
        what: cannot be done then, as the beginning of a sentence.

    Raises:
        AwsRefused: AWS says no, or cannot be asked that way.
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
        code = error.response.get("Error", {}).get("Code", "an error")
        raise errors.AwsRefused(f"{what}: {error.operation_name} answered {code}.", code) from None
    except (NoCredentialsError, PartialCredentialsError):
        raise errors.AwsRefused(f"{what}: there are no AWS credentials.") from None
    except NoRegionError:
        raise errors.AwsRefused(f"{what}: no region is named.") from None
    except HTTPClientError:
        raise errors.Unreachable(f"{what}: AWS cannot be reached.") from None
    except BotoCoreError as error:
        raise errors.AwsRefused(f"{what} ({type(error).__name__}).") from None


def aws_error_code(error: BaseException) -> str:
    """The code of what AWS answered, as "NoSuchBucketPolicy"; empty if it was no answer of AWS's."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


@dataclass(frozen=True)
class Stack:
    """A deployed stack.

    Attributes:
        name: in CloudFormation.
        region: None is the one of boto3's own settings.
        outputs: by their keys.
    """

    name: str
    region: str | None
    outputs: dict[str, str]

    @classmethod
    def describe(cls, name: str, region: str | None = None) -> Stack:
        """The stack as CloudFormation describes it.

        Raises:
            AwsRefused: there is none, or it may not be looked at.
            Unreachable.
        """
        formation = aws_client("cloudformation", region)
        with aws_errors("The stack cannot be looked at"):
            (stack,) = formation.describe_stacks(StackName=name)["Stacks"]
        return cls(name, region, {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])})

    def output(self, key: str) -> str:
        """One output.

        Raises:
            AwsRefused: the stack has none of that key.
        """
        if not self.outputs.get(key):
            raise errors.AwsRefused(f"The stack has no output {key}: it is not this service's, or not quite deployed.")
        return self.outputs[key]

    def client(self, service: str) -> Any:
        """boto3's client of a service, where the stack is."""
        return aws_client(service, self.region, self._session)

    @cached_property
    def _session(self) -> Any:
        return aws_session(self.region)

    def api_key(self) -> str:
        """The value of its API key; empty if it has none, as with IAM or a JWT authorizer.

        Raises:
            AwsRefused: it may not be looked at.
        """
        identity = self.outputs.get("ApiKeyId", "")
        if not identity:
            return ""
        gateway = self.client("apigateway")
        with aws_errors("The stack's API key cannot be read"):
            return str(gateway.get_api_key(apiKey=identity, includeValue=True)["value"])
