"""`remote backfill`: a deployed stack does the images that lie in its bucket already."""

from __future__ import annotations

import argparse

from lungseg.cli.common import DONE, EXIT_CODES, FAILED, CommandError, Commands, at_least_one, workstation
from lungseg.cli.connection import ENVIRONMENT, add_region, add_stack, stack_of
from lungseg.terminal import print_status

DESCRIPTION = """\
Have a deployed stack do every image below a prefix of its input bucket, by its Step Functions state machine. Images
whose outputs are there already are skipped by the function itself, so the same command goes on where an execution was
stopped. With --dry-run nothing is started: the prefix is listed, and what it would take is printed, with what that
rests on.
"""

EXAMPLES = """\
examples:
  python -m lungseg remote backfill s3://films/in/ --dry-run                   images, bytes, minutes and dollars
  python -m lungseg remote backfill s3://films/in/ --dry-run --memory 3538 --concurrency 100
  python -m lungseg remote backfill s3://films/in/ --stack lungs               start it, and follow it to its end
  python -m lungseg remote backfill s3://films/in/ --stack lungs --detach      start it, and leave it alone

"""

CODES = """\
with backfill, exit code 1 also means: some items failed; the execution has the causes. Ctrl-C ends the following
and not the execution.
"""


def add(commands: Commands) -> None:
    """Describe the command."""
    parser = commands.add_parser(
        "backfill",
        help="the images that lie in a bucket already",
        description=DESCRIPTION,
        epilog=EXAMPLES + ENVIRONMENT + EXIT_CODES + CODES,
    )
    parser.add_argument("place", metavar="s3://BUCKET/PREFIX", help="the prefix may be empty: s3://BUCKET")
    which = parser.add_mutually_exclusive_group()
    add_stack(which)
    which.add_argument("--state-machine", metavar="ARN", help="the state machine itself, where the stack is not known")
    add_region(parser)
    parser.add_argument("--dry-run", action="store_true", help="list and reckon; start nothing")
    parser.add_argument(
        "--memory",
        type=at_least_one,
        metavar="MB",
        help="of the batch function, to reckon with (default: the stack's, else 1769)",
    )
    parser.add_argument(
        "--concurrency",
        type=at_least_one,
        metavar="N",
        help="of functions at a time, to reckon with (default: the stack's, else 20)",
    )
    parser.add_argument(
        "--architecture",
        choices=("x86_64", "arm64"),
        help="of the batch function, to reckon with (default: the stack's, else x86_64)",
    )
    parser.add_argument("--detach", action="store_true", help="do not follow what was started")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    bucket, prefix = _place(arguments.place)
    if not (arguments.dry_run or arguments.stack or arguments.state_machine):
        raise CommandError("name the --stack or the --state-machine that is to do it, or --dry-run")
    if not arguments.dry_run and (arguments.memory or arguments.concurrency or arguments.architecture):
        raise CommandError(
            "--memory, --concurrency and --architecture are the stack's own; they go with --dry-run alone"
        )
    workstation("boto3")
    workstation("tqdm")
    from lungseg.remote import backfill, cost

    stack = stack_of(arguments)
    machine = stack.output("BackfillStateMachineArn") if stack else arguments.state_machine
    if stack is not None and stack.output("InputBucketName") != bucket:
        raise CommandError(f"the stack's images lie in s3://{stack.output('InputBucketName')}, not in s3://{bucket}")
    if arguments.dry_run:
        images = backfill.list_prefix(bucket, prefix, arguments.region)
        settings = backfill.read_backfill_settings(
            stack, arguments.memory, arguments.concurrency, arguments.architecture
        )
        print("\n".join(cost.estimate_lines(cost.estimate_backfill(images, settings))), flush=True)
        return DONE
    execution = backfill.start_execution(machine, bucket, prefix)
    print(execution, flush=True)
    if arguments.detach:
        return DONE
    end = backfill.follow_execution(execution)
    print_status(end.summary_line())
    return DONE if end.is_complete else FAILED


def _place(text: str) -> tuple[str, str]:
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not bucket:
        raise CommandError("the bucket is named as s3://BUCKET/PREFIX")
    return bucket, prefix
