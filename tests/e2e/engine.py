"""The container engine, and the container image under Lambda's limits."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
"""The repository, which is the build context."""

LAB = ROOT.parent / "shared" / "lab" / "engine"
"""An optional script beside the checkout that starts an engine where there is none."""

IMAGE = "lung-segmentation:e2e"


def run(*command: object, seconds: float = 300, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command; raise AssertionError with its output if it fails."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=seconds, check=False, **options)
    assert done.returncode == 0, (
        f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return done


@contextlib.contextmanager
def engine() -> Iterator[str | None]:
    """Run Docker during the ``with`` block: the machine's own, or the one that LAB starts.

    Yields:
        None, or why there is none.
    """
    before = dict(os.environ)
    ours = False
    try:
        if not _answers():
            if not LAB.exists():
                yield "no container engine: `docker version` fails, and nothing beside the checkout starts one"
                return
            # Its default data folder.
            os.environ.setdefault("LAB", str(Path(tempfile.gettempdir()) / "lab"))
            os.environ["DOCKER_HOST"] = f"unix://{os.environ['LAB']}/docker.sock"
            ours = not _answers()
            try:
                told = run(LAB, "start", seconds=600).stdout
                os.environ.update(each.split("=", 1) for each in told.removeprefix("export ").split())
                run(LAB, "base", seconds=900)
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                yield f"no container engine: {error}"
                return
        yield None
    finally:
        if ours:
            run(LAB, "stop")
        os.environ.clear()
        os.environ.update(before)


def _answers() -> bool:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(["docker", "version"], capture_output=True, timeout=30, check=False).returncode == 0
    return False


def gateway() -> str:
    """Return the host's address that only containers reach."""
    (network,) = json.loads(run("docker", "network", "inspect", "bridge").stdout)
    config = network["IPAM"]["Config"][0]
    # Without a configured gateway the engine uses the first address.
    return str(config.get("Gateway") or ipaddress.ip_network(config["Subnet"])[1])


class Container:
    """The container image, running as a function."""

    def __init__(self, name: str) -> None:
        self.name = name
        port = run("docker", "port", name, "8080/tcp").stdout.splitlines()[0].rpartition(":")[2]
        self._url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"

    def invoke(self, event: object, seconds: float = 120) -> Any:
        """Return the function's response to one event."""
        request = urllib.request.Request(self._url, data=json.dumps(event).encode())
        deadline = time.monotonic() + 30
        while True:
            try:
                with urllib.request.urlopen(request, timeout=seconds) as response:
                    return json.loads(response.read())
            except (ConnectionError, urllib.error.URLError):
                # The port is open before the emulator listens.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def inside(self, *command: str) -> str:
        """Return the output of a command inside the container."""
        return run("docker", "exec", self.name, *command).stdout

    def peak(self) -> int:
        """Return the peak memory in bytes, including the page cache."""
        either = "cat /sys/fs/cgroup/memory.peak 2>/dev/null || cat /sys/fs/cgroup/memory/memory.max_usage_in_bytes"
        return int(self.inside("sh", "-c", either))

    def resident(self) -> int:
        """Return the peak resident bytes of its largest process."""
        found = self.inside("sh", "-c", "cat /proc/[0-9]*/status | grep VmHWM")
        return max(int(line.split()[1]) * 1024 for line in found.splitlines())

    def log(self) -> str:
        """Return its log."""
        done = run("docker", "logs", self.name)
        return done.stdout + done.stderr


@contextlib.contextmanager
def container(
    environment: Mapping[str, str] | None = None, *, memory: int = 512, seconds: int = 60
) -> Iterator[Container]:
    """Run the image as Lambda does: no root, no capabilities, only /tmp writable, processor time by memory.

    Args:
        environment: the function's.
        memory: MB; 1,769 MB have one processor.
        seconds: the function's timeout.
    """
    told = {"AWS_LAMBDA_FUNCTION_TIMEOUT": str(seconds), "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory)}
    told |= environment or {}
    limits = ["--read-only", "--tmpfs", "/tmp", "--user", "1000", "--cap-drop", "ALL", "--memory", f"{memory}m"]
    # Otherwise the container may swap as much as it has memory.
    limits += ["--memory-swap", f"{memory}m", "--cpus", f"{memory / 1769:.2f}"]
    variables = [part for name, value in told.items() for part in ("--env", f"{name}={value}")]
    name = run("docker", "run", "--detach", *limits, *variables, "--publish", "127.0.0.1::8080", IMAGE).stdout.strip()
    try:
        yield Container(name)
    finally:
        run("docker", "rm", "--force", name)
