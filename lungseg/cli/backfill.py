"""`remote backfill`: let a deployed stack process the images that are already in its bucket."""

from __future__ import annotations

import argparse

from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_REFUSED,
    CommandError,
    CommandParsers,
    exit_codes,
    positive_int,
    require_package,
)
from lungseg.cli.connection import ENVIRONMENT, add_region, add_stack, find_stack
from lungseg.terminal import print_status

BACKFILL_DESCRIPTION = """\
Let a deployed stack process every image below a prefix of its input bucket, in
its Step Functions state machine. The function skips images whose outputs exist,
so the same command continues an execution that was stopped.

With --dry-run, nothing is started: the images below the prefix are listed, and
an estimate of time and cost is printed with its assumptions.
"""

BACKFILL_EXAMPLES = """\
examples:
  lungseg remote backfill s3://images/in/ --dry-run
                                      images, bytes, minutes and dollars
  lungseg remote backfill s3://images/in/ --dry-run --memory 3538
  lungseg remote backfill s3://images/in/ --stack lungs
                                      start it, and follow it to its end
  lungseg remote backfill s3://images/in/ --stack lungs --detach
                                      start it, and do not follow it

"""

BACKFILL_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done: the execution has succeeded; with --detach, it has started",
        EXIT_FAILED: "some items failed, and the execution lists the causes; or AWS failed, or internal error",
        EXIT_REFUSED: "the command line is invalid, or AWS refused the request; standard error says why",
        EXIT_INTERRUPTED: "interrupted; the execution continues",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "backfill",
        help="process the images that are already in a bucket",
        description=BACKFILL_DESCRIPTION,
        epilog=BACKFILL_EXAMPLES + ENVIRONMENT + BACKFILL_EXIT_CODES,
    )
    parser.add_argument("location", metavar="s3://BUCKET/PREFIX", help="the prefix may be empty: s3://BUCKET")
    target = parser.add_mutually_exclusive_group()
    add_stack(target)
    target.add_argument("--state-machine", metavar="ARN", help="the state machine, instead of the stack")
    add_region(parser)
    parser.add_argument("--dry-run", action="store_true", help="print an estimate; start nothing")
    parser.add_argument(
        "--memory",
        type=positive_int,
        metavar="MB",
        help="memory of the batch function, for the estimate (default: the stack's, else 1769)",
    )
    parser.add_argument(
        "--concurrency",
        type=positive_int,
        metavar="N",
        help="functions that run at a time, for the estimate (default: the stack's, else 20)",
    )
    parser.add_argument(
        "--architecture",
        choices=("x86_64", "arm64"),
        help="of the batch function, for the estimate (default: the stack's, else x86_64)",
    )
    parser.add_argument("--detach", action="store_true", help="do not follow the execution")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    bucket, prefix = _parse_location(arguments.location)
    if not (arguments.dry_run or arguments.stack or arguments.state_machine):
        raise CommandError("name a --stack or a --state-machine to start, or use --dry-run")
    if not arguments.dry_run and (arguments.memory or arguments.concurrency or arguments.architecture):
        raise CommandError(
            "--memory, --concurrency and --architecture are only for the estimate; use them with --dry-run"
        )
    require_package("boto3")
    require_package("tqdm")
    from lungseg.remote import backfill, cost

    stack = find_stack(arguments)
    machine = stack.output("BackfillStateMachineArn") if stack else arguments.state_machine
    if stack is not None and stack.output("InputBucketName") != bucket:
        raise CommandError(f"the stack's input bucket is s3://{stack.output('InputBucketName')}, not s3://{bucket}")
    if arguments.dry_run:
        images = backfill.list_prefix(bucket, prefix, arguments.region)
        settings = backfill.read_backfill_settings(
            stack, arguments.memory, arguments.concurrency, arguments.architecture
        )
        print("\n".join(cost.estimate_lines(cost.estimate_backfill(images, settings))), flush=True)
        return EXIT_DONE
    execution = backfill.start_execution(machine, bucket, prefix)
    print(execution, flush=True)
    if arguments.detach:
        return EXIT_DONE
    end = backfill.follow_execution(execution)
    print_status(end.summary_line())
    return EXIT_DONE if end.is_complete else EXIT_FAILED


def _parse_location(text: str) -> tuple[str, str]:
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not bucket:
        raise CommandError("the location must look like s3://BUCKET/PREFIX")
    return bucket, prefix
