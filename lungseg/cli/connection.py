"""Which service a command speaks to, and as whom; nothing of HTTP or AWS is imported until it does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lungseg import settings
from lungseg.cli.common import CommandError, workstation

if TYPE_CHECKING:
    from lungseg.remote.aws import Stack
    from lungseg.remote.credentials import Credentials
    from lungseg.remote.service import ServiceClient

KEY, TOKEN = settings.API_KEY.name, settings.TOKEN.name

ENVIRONMENT = f"""\
environment:
  {KEY}   API key of the service; to be preferred to --api-key, as other users of
                 this machine can see what stands on a command line
  {TOKEN}     bearer token, where a JWT authorizer asks for one
  AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID ...
                 what --stack and --sign ask AWS with, as its own tools do

"""


def add_stack(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    """--stack alone."""
    parser.add_argument("--stack", metavar="NAME", help="the CloudFormation stack that template.yaml was deployed as")


def add_region(parser: argparse.ArgumentParser) -> None:
    """--region."""
    parser.add_argument("--region", metavar="R", help="of AWS, as eu-west-1 (default: that of AWS's own settings)")


def add_connection(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """--url or --stack, and who calls."""
    where = parser.add_mutually_exclusive_group(required=required)
    where.add_argument(
        "--url", metavar="URL", help="what goes before /v1/segment: a stack's output ApiUrl, or http://127.0.0.1:8000"
    )
    add_stack(where)
    add_region(parser)
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"seen by other users of this machine: set {KEY} instead (default: {KEY}, else the stack's own)",
    )
    parser.add_argument("--sign", action="store_true", help="sign requests with AWS credentials (IAM authorisation)")


def read_credentials(arguments: argparse.Namespace, stack: Stack | None) -> Credentials:
    """Who calls.

    Raises:
        CommandError: two ways exclude each other.
        RemoteError: the stack's key cannot be read.
    """
    from lungseg.remote.credentials import Credentials

    key, token = arguments.api_key or settings.API_KEY.read(""), settings.TOKEN.read("")
    if token and arguments.sign:
        raise CommandError(f"a request cannot have both a token ({TOKEN}) and a signature (--sign)")
    for name, value in ((KEY, key), (TOKEN, token)):
        if not (value.isascii() and value.isprintable()):
            raise CommandError(f"{name} holds signs that no header can carry; was a line break copied along?")
    if stack is not None and not (key or token or arguments.sign):
        key = stack.api_key()
    return Credentials(key, token, arguments.sign, arguments.region)


def stack_of(arguments: argparse.Namespace) -> Stack | None:
    """The stack that is named; None if none is.

    Raises:
        RemoteError: it is not there, or may not be looked at.
    """
    if arguments.stack is None:
        return None
    workstation("boto3")
    from lungseg.remote.aws import Stack

    return Stack.describe(arguments.stack, arguments.region)


def connect(arguments: argparse.Namespace, stack: Stack | None) -> ServiceClient:
    """The service, which is a context manager.

    Raises:
        CommandError, RemoteError.
    """
    workstation("httpx2")
    workstation("tqdm")
    if arguments.sign:
        workstation("boto3")
    from lungseg.remote.service import ServiceClient

    url = arguments.url if stack is None else stack.output("ApiUrl")
    return ServiceClient(url, read_credentials(arguments, stack))
