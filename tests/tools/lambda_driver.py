"""Answer events as AWS Lambda would: one JSON event per line on standard input, one JSON answer per line on standard
output.

`record_outputs.py` runs it in the checkout that it records, so it imports nothing of this repository but `serverless`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys


class Context:
    """Lambda's context object, with enough time left for any image."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return ten minutes."""
        return 600_000


def main() -> None:
    """Answer events until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    # The batch path prints its metrics, which must not mix with the answers.
    with contextlib.redirect_stdout(sys.stderr):
        import serverless

        for line in sys.stdin:
            try:
                answer = {"answer": serverless.handler(json.loads(line), Context())}
            except Exception as error:  # Lambda reports it as the invocation's error
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
