"""Lambda's real runtime interface, without a container: the emulator of aws-sam-cli's wheel runs awslambdaric."""

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

from processes import alive, wait_for
from servers import free_ports, listening, running

ROOT = Path(__file__).resolve().parents[2]
"""The repository: where a function's code lies."""


class FunctionError(Exception):
    """The function raised, timed out, or died: Lambda would call the invocation failed."""


class Runtime:
    """A function, served by Lambda's runtime interface.

    It does one request at a time, as Lambda has it: give each thread a runtime of its own.

    Attributes:
        log: what the emulator and the function write: what CloudWatch would get.
    """

    def __init__(self, emulator: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._emulator = emulator
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        self.log = log

    def invoke(self, event: object, seconds: float = 120) -> Any:
        """The function's answer to one event. A function that was killed is started anew, as Lambda does.

        Raises:
            FunctionError.
        """
        request = urllib.request.Request(self._url, data=json.dumps(event).encode())
        try:
            with urllib.request.urlopen(request, timeout=seconds) as response:
                body = response.read()
        except (OSError, http.client.HTTPException, urllib.error.HTTPError) as error:
            # 502 is the emulator's word for a runtime that has exited.
            raise FunctionError(f"the runtime died: {error}") from error
        try:
            answer = json.loads(body)
        except ValueError:
            # A timeout comes as plain text, with status 200.
            raise FunctionError(body.decode(errors="replace")) from None
        if isinstance(answer, dict) and {"errorType", "errorMessage"} <= set(answer):
            raise FunctionError(f"{answer['errorType']}: {answer['errorMessage']}")
        return answer

    def kill(self) -> int:
        """SIGKILL the function's process, as when Lambda takes the machine or memory runs out.

        Returns:
            How many processes were killed: 0 before the first invocation.
        """
        children = self._children()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return len(children)

    def _children(self) -> list[int]:
        """The function's process; the emulator is a Go program, and any of its threads may be the parent."""
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
    """A function in a process of its own, gone with the ``with``.

    Args:
        log: file for what it writes.
        environment: all that it is told by its environment, but for what Lambda sets.
        handler: module and name.
        folder: where the module lies.
        timeout: of the function, seconds.
    """
    port, api = free_ports(2)
    command = [
        str(emulator()),
        *("--log-level", "INFO"),
        # Both: without the second one all emulators on a machine want port 9001.
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
            # Before the emulator: a function in the middle of an event would outlive it.
            function.kill()


def emulator() -> Path:
    """The emulator's binary."""
    spec = find_spec("samcli")
    assert spec is not None, "aws-sam-cli is not installed: pip install -r tests/e2e/requirements.txt"
    assert spec.origin is not None
    machine = "arm64" if os.uname().machine == "aarch64" else "x86_64"
    return Path(spec.origin).parent / "local" / "rapid" / f"aws-lambda-rie-{machine}"
