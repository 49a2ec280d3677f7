"""Measure the memory that one image takes in its own process, as on Lambda.

As a program: ``python peak_memory.py FILE FORMAT...`` sends a file through the entry point that LUNG_DOOR names, and
prints a `Peak` as JSON.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Peak:
    """Resources used for one image.

    Attributes:
        answer: "done", or the error code.
        mebibytes: peak memory of the process.
        seconds: processor time.
    """

    answer: str
    mebibytes: int
    seconds: float


def measure(door: str, file: Path, *formats: str) -> Peak:
    """Segment a file in its own process, as an object in the input bucket whose key is the file's name, or as a body.

    Args:
        door: "records", or "http", which takes one format.
    """
    environment = os.environ | {"LUNG_DOOR": door, "LUNG_THREADS": "1", "LUNG_FORMATS": " ".join(formats)}
    environment |= {"AWS_LAMBDA_FUNCTION_NAME": "lung", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"}
    command = [sys.executable, __file__, str(file), *formats]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, f"killed, or failed ({run.returncode}): {run.stderr[-500:]}"
    return Peak(**json.loads(run.stdout.splitlines()[-1]))


def _request(file: Path, form: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((ROOT / "events" / "api_gateway_v1.json").read_text())
    query = {"queryStringParameters": {"format": form}, "multiValueQueryStringParameters": {"format": [form]}}
    return event | query | {"body": base64.b64encode(file.read_bytes()).decode(), "isBase64Encoded": True}


def _main(file: Path, formats: list[str]) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    http = os.environ["LUNG_DOOR"] == "http"
    event = json.dumps(_request(file, *formats) if http else {"image_key": file.name})
    import serverless

    started = time.process_time()
    answer = serverless.handler(json.loads(event), _Context())
    seconds = time.process_time() - started
    if http:
        done = "done" if answer["statusCode"] == 200 else json.loads(answer["body"])["code"]
    else:
        done = "done" if answer["status"] == "done" else answer["problem"]["code"]
    status = Path("/proc/self/status").read_text().splitlines()
    (most,) = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    print(json.dumps(asdict(Peak(done, most // 1024, seconds))))


class _Context:
    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
