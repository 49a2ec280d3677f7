"""Lambda's real runtime interface without a container: the emulator in aws-sam-cli's wheel runs awslambdaric."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ports import free_ports
from processes import alive, wait_for
from servers import listening, running

ROOT = Path(__file__).resolve().parents[2]
"""The repository, which has the functions' code."""


class FunctionError(Exception):
    """The function raised, timed out, or was killed: for Lambda, the invocation failed."""


class Runtime:
    """A function behind Lambda's runtime interface.

    It handles one request at a time, as on Lambda: give each thread its own.

    Attributes:
        log: output of the emulator and the function, as CloudWatch would get it.
    """

    def __init__(self, emulator: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._emulator = emulator
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self.log = log

    def invoke(self, event: object, seconds: float = 120) -> Any:
        """Return the function's response to one event. A killed function is restarted, as on Lambda.

        Raises:
            FunctionError.
        """
        request = urllib.request.Request(self._url, data=json.dumps(event).encode())
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                body = response.read()
        except (OSError, http.client.HTTPException, urllib.error.HTTPError) as error:
            # The emulator responds with 502 when the runtime has exited.
            raise FunctionError(f"the runtime died: {error}") from error
        try:
            answer = json.loads(body)
        except ValueError:
            # The emulator reports a timeout as plain text with status 200.
            raise FunctionError(body.decode(errors="replace")) from None
        if isinstance(answer, dict) and {"errorType", "errorMessage"} <= set(answer):
            raise FunctionError(f"{answer['errorType']}: {answer['errorMessage']}")
        return answer

    def kill(self) -> int:
        """Send SIGKILL to the function's process, as Lambda does when memory runs out.

        Returns:
            The number of killed processes: 0 before the first invocation.
        """
        children = self._children()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return len(children)

    def _children(self) -> list[int]:
        """Return the function's processes; any thread of the emulator, a Go program, may be the parent."""
        threads = Path(f"/proc/{self._emulator.pid}/task").glob("*/children")
        return [int(child) for each in threads for child in each.read_text().split() if alive(int(child))]


@contextlib.contextmanager
def runtime(
    log: Path,
    environment: Mapping[str, str],
    handler: str = "serverless.handler",
    folder: Path = ROOT,
    timeout: int = 60,
) -> Iterator[Runtime]:
    """Run a function in its own process during the ``with`` block.

    Args:
        log: file for its output.
        environment: its environment, without what Lambda sets.
        handler: module and name.
        folder: the module's folder.
        timeout: the function's, in seconds.
    """
    port, api = free_ports(2)
    command = [
        str(emulator()),
        *("--log-level", "INFO"),
        # Without the second option, all emulators on a machine use port 9001.
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api}"),
        *(sys.executable, "-m", "awslambdaric", handler),
    ]
    lambdas = {
        "AWS_LAMBDA_FUNCTION_NAME": "lung-batch",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(timeout),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "LAMBDA_TASK_ROOT": str(folder),
        "TZ": ":UTC",
    }
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with running(command, log, inherited | lambdas | dict(environment), folder) as process:
        function = Runtime(process, port, log)
        wait_for(lambda: listening(port))
        try:
            yield function
        finally:
            # Before the emulator, which a function in the middle of an event would outlive.
            function.kill()


def emulator() -> Path:
    """Return the path of the emulator."""
    spec = find_spec("samcli")
    assert spec is not None, "aws-sam-cli is not installed: pip install -r tests/e2e/requirements.txt"
    assert spec.origin is not None
    machine = "arm64" if os.uname().machine == "aarch64" else "x86_64"
    return Path(spec.origin).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"
