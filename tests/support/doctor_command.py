"""`doctor --json` in this process."""

from __future__ import annotations

import json

import pytest

from lungseg.cli.main import main

DOCTOR_KEY = "a-key-of-the-tests"
"""The API key of the services that are checked."""

SERVICE_CHECKS = ("service", "authorisation", "model", "binary mode", "payload limit", "jobs")
"""The checks of every service, in order."""


def run_doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Run `doctor`; return its exit code, and the checks by name."""
    code = main(["doctor", "--json", *arguments])
    printed = capsys.readouterr()
    assert DOCTOR_KEY not in printed.out + printed.err
    document = json.loads(printed.out)
    assert document["ok"] == (code == 0)
    checks = {check["name"]: check for check in document["checks"]}
    assert all(check["remedy"] for check in checks.values() if check["state"] == "failed")
    return code, checks
