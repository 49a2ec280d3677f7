"""`python -m app`."""

import signal
import sys

try:
    from app.cli import main
except ImportError as error:
    raise SystemExit(f"error: {error.name} cannot be imported; run: pip install -r app/requirements.txt") from None
except KeyboardInterrupt:
    # The imports take the first quarter of a second.
    print("error: interrupted", file=sys.stderr)
    raise SystemExit(130) from None

try:
    code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: there is nothing left to interrupt
except KeyboardInterrupt:
    print("error: interrupted", file=sys.stderr)
    code = 130
raise SystemExit(code)
