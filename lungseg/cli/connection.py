"""Which service a command calls, and with which credentials. HTTP and AWS packages are imported only when it does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from lungseg import settings
from lungseg.cli.common import CommandError, require_package

if TYPE_CHECKING:
    from lungseg.remote.aws import Stack
    from lungseg.remote.credentials import Credentials
    from lungseg.remote.service import ServiceClient

KEY_VARIABLE, TOKEN_VARIABLE = settings.API_KEY.name, settings.TOKEN.name

ENVIRONMENT = f"""\
environment:
  {KEY_VARIABLE}   API key of the service. Prefer it to --api-key, because other
                 users of this machine can see command lines
  {TOKEN_VARIABLE}     bearer token, if the service has a JWT authorizer
  AWS_PROFILE, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID ...
                 AWS credentials and region for --stack and --sign

"""


def add_stack(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup) -> None:
    """Add --stack."""
    parser.add_argument(
        "--stack", metavar="NAME", help="name of the CloudFormation stack that template.yaml was deployed as"
    )


def add_region(parser: argparse.ArgumentParser) -> None:
    """Add --region."""
    parser.add_argument(
        "--region", metavar="R", help="AWS region, such as eu-west-1 (default: from your AWS configuration)"
    )


def add_connection(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add --url or --stack, and the credentials."""
    where = parser.add_mutually_exclusive_group(required=required)
    where.add_argument(
        "--url",
        metavar="URL",
        help="base URL of the service, such as http://127.0.0.1:8000, or the stack's output ApiUrl",
    )
    add_stack(where)
    add_region(parser)
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"API key; visible to other users of this machine, so set {KEY_VARIABLE} instead "
        f"(default: {KEY_VARIABLE}, else the stack's key)",
    )
    parser.add_argument(
        "--sign", action="store_true", help="sign requests with your AWS credentials (IAM authorization)"
    )


def read_credentials(arguments: argparse.Namespace, stack: Stack | None) -> Credentials:
    """Return the caller's credentials.

    Raises:
        CommandError: two kinds of credentials exclude each other, or one is not valid in an HTTP header.
        RemoteError: the stack's key cannot be read.
    """
    from lungseg.remote.credentials import Credentials

    key, token = arguments.api_key or settings.API_KEY.read(""), settings.TOKEN.read("")
    if token and arguments.sign:
        raise CommandError(f"a request cannot have both a token and a signature; unset {TOKEN_VARIABLE} or drop --sign")
    for name, value in ((KEY_VARIABLE, key), (TOKEN_VARIABLE, token)):
        if not (value.isascii() and value.isprintable()):
            raise CommandError(
                f"{name} contains characters that are not allowed in an HTTP header; did you paste a line break?"
            )
    if stack is not None and not (key or token or arguments.sign):
        key = stack.api_key()
    return Credentials(key, token, arguments.sign, arguments.region)


def find_stack(arguments: argparse.Namespace) -> Stack | None:
    """Return the stack that the command line names, or None.

    Raises:
        RemoteError: it does not exist, or the caller may not describe it.
    """
    if arguments.stack is None:
        return None
    require_package("boto3")
    from lungseg.remote.aws import Stack

    return Stack.describe(arguments.stack, arguments.region)


def connect_service(arguments: argparse.Namespace, stack: Stack | None) -> ServiceClient:
    """Return a client of the service, which is a context manager.

    Raises:
        CommandError, RemoteError.
    """
    require_package("httpx2")
    require_package("tqdm")
    if arguments.sign:
        require_package("boto3")
    from lungseg.remote.service import ServiceClient

    url = arguments.url if stack is None else stack.output("ApiUrl")
    return ServiceClient(url, read_credentials(arguments, stack))
