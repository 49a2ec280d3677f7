"""Fixtures of `make e2e`: AWS's tools, a container engine, the container image, and the output of `sam build`."""

from __future__ import annotations

import os
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine import IMAGE, ROOT, engine, run

TOOLS = Path(sysconfig.get_path("scripts"))
"""sam, cfn-lint and hadolint are beside this Python; checkov is in its own environment."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Exclude these tests from the default suite; they run only by name."""
    named = any("e2e" in Path(each.split("::")[0]).parts for each in config.args)
    return True if collection_path.name.startswith("test_") and not named else None


@pytest.fixture(scope="session", autouse=True)
def quiet() -> None:
    """Disable the telemetry of the tools, and set a region."""
    os.environ["SAM_CLI_TELEMETRY"] = "0"
    os.environ.setdefault("AWS_DEFAULT_REGION", "eu-west-1")


def tool(name: str) -> Path:
    """Return the path of a tool of tests/e2e/requirements.txt; skip the test without it."""
    path = TOOLS.parent / "checkov" / "bin" / name if name == "checkov" else TOOLS / name
    if not path.exists():
        pytest.skip(f"{name} is not installed: run `make e2e`")
    return path


@pytest.fixture(scope="session")
def docker() -> Iterator[None]:
    """Start a container engine; skip the test without one."""
    with engine() as missing:
        if missing:
            pytest.skip(missing)
        yield


@pytest.fixture(scope="session")
def image(docker: None) -> str:
    """Build the container image from the unchanged Dockerfile; return its tag."""
    started = time.monotonic()
    # On the host's network, so that engines without a bridge can fetch packages.
    run("docker", "build", "--network", "host", "--tag", IMAGE, ROOT, seconds=900)
    size = int(run("docker", "image", "inspect", "-f", "{{.Size}}", IMAGE).stdout)
    base = int(run("docker", "image", "inspect", "-f", "{{.Size}}", base_image()).stdout)
    print(f"\nimage: {size / 1e6:.0f} MB, of which the base has {base / 1e6:.0f}; {time.monotonic() - started:.0f} s")
    return IMAGE


def base_image() -> str:
    """Return the Dockerfile's BASE_IMAGE."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith("ARG BASE_IMAGE="))


@pytest.fixture(scope="session")
def built(image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the template that `sam build` writes, with the tag of the container image."""
    folder = tmp_path_factory.mktemp("sam")
    run(tool("sam"), "build", "--build-dir", folder / "build", cwd=ROOT)
    return folder / "build" / "template.yaml"
