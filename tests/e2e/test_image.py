"""The container image of the unchanged Dockerfile: its contents, and runs under Lambda's limits."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from buckets_outside import Outside, outside
from engine import ROOT, Container, container, run
from films import encode, png
from numpy.typing import NDArray
from PIL import Image
from processes import command

from events.make_event import MAX_EVENT, fill_event

SIZE = (4348, 4618)
"""Columns and rows of an image of 20 megapixels, with RG1's aspect ratio."""

IMPORTS = """
import ast, importlib, pathlib, sys
root = pathlib.Path("/var/task")
files = [root / "serverless.py", *sorted((root / "app").rglob("*.py")), *sorted((root / "lungseg").rglob("*.py"))]
for file in files:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module]
        for name in names:
            importlib.import_module(name)
print(len(files), "files")
"""
"""Imports everything that any module of the service imports, also within functions, but not for type checkers."""

FOUND = """
import pathlib, stat
root = pathlib.Path("/var/task")
files = [each for each in root.rglob("*")]
unread = [str(each) for each in files if not each.stat().st_mode & stat.S_IROTH]
written = [str(each) for each in files if each.stat().st_mode & stat.S_IWOTH]
bare = [str(each) for each in files if each.suffix == ".py" and "site-packages" not in each.parts
        and not list((each.parent / "__pycache__").glob(each.stem + ".*.pyc"))]
print(unread + written + bare)
"""


@pytest.fixture(scope="module")
def large(rg1_pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return RG1 at 20 megapixels."""
    resized = Image.fromarray(rg1_pixels.astype(np.float32)).resize(SIZE, Image.Resampling.BILINEAR)
    return np.asarray(resized).round().astype(np.uint16)


@pytest.fixture(scope="module")
def aws(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """Yield S3 for the containers."""
    with outside(tmp_path_factory.mktemp("aws")) as found:
        yield found


def python(image: str, program: str, *options: str) -> str:
    """Run a program in the container image as an unprivileged user; return its output."""
    return run(
        "docker", "run", "--rm", *options, "--user", "1000", "--entrypoint", "python3", image, "-c", program
    ).stdout


def from_command_line(film: bytes, folder: Path) -> bytes:
    """Return the mask that `python -m lungseg segment` writes."""
    (folder / "film").write_bytes(film)
    run(*command("segment", folder / "film", "--output", folder / "mask.png"), cwd=ROOT)
    return (folder / "mask.png").read_bytes()


def test_image_contains_only_the_service(image: str) -> None:
    listed = python(image, "import pathlib; print(*pathlib.Path('/var/task').rglob('*'), sep='\\n')").splitlines()
    packages = {each.removeprefix("/var/task/").split("/")[0].lower() for each in listed}
    assert {"serverless.py", "app", "lungseg", "onnxruntime", "boto3"} <= packages
    assert not packages & {
        "torch",
        "pytest",
        "tests",
        "model_export",
        "matplotlib",
        "scipy",
        "uvicorn",
        "tqdm",
        "demo",
        "data",
    }
    assert not [each for each in listed if "/tests/" in each or Path(each).name.startswith("RG")]
    assert not [each for each in listed if each.startswith("/var/task/lungseg/") and Path(each).suffix == ".txt"]


def test_every_file_is_world_readable_read_only_and_compiled(image: str) -> None:
    assert python(image, FOUND).strip() == "[]"


def test_all_imports_of_the_service_are_installed(image: str) -> None:
    print(python(image, IMPORTS))


def test_onnxruntime_sends_no_telemetry(image: str) -> None:
    program = "import onnxruntime, pathlib; print([str(e) for e in pathlib.Path('/tmp').rglob('*')])"
    assert python(image, program, "--env", "HOME=/tmp", "--tmpfs", "/tmp").strip() == "[]"


def test_20_megapixels_through_the_api_at_512_mb(image: str, large: NDArray[np.uint16], tmp_path: Path) -> None:
    film = encode(Image.fromarray((large >> 8).astype(np.uint8)), "PNG")
    event = fill_event(json.loads((ROOT / "events" / "api_gateway_v1.json").read_text()), film, "film.png")
    assert len(json.dumps(event)) < MAX_EVENT
    with container({"LUNG_DOOR": "http"}) as function:
        answer = function.invoke(event)
        tell("8-bit PNG through the API", function)
    assert answer["statusCode"] == 200, answer
    assert base64.b64decode(answer["body"]) == from_command_line(film, tmp_path)


def test_20_megapixels_through_s3_at_512_mb(
    image: str, aws: Outside, large: NDArray[np.uint16], tmp_path: Path
) -> None:
    """16 bits are too large for an event, so the image comes from a bucket."""
    film = png(large)
    assert len(film) > MAX_EVENT
    aws.s3.put_object(Bucket=aws.films, Key="in/a b.png", Body=film)
    event = fill_event(json.loads((ROOT / "events" / "s3.json").read_text()), film, "in/a b.png", aws.films)
    with container(aws.environment | {"LUNG_DOOR": "records"}) as function:
        answer: dict[str, Any] = function.invoke(event)
        log = tell("16-bit PNG from a bucket", function)
    assert answer == {"done": 1}
    assert aws.mask("in/a b.png.mask.png") == from_command_line(film, tmp_path)
    assert "a b" not in log
    assert "a+b" not in log


def tell(what: str, function: Container) -> str:
    """Print a container's peak memory; return its log."""
    log = function.log()
    (report,) = [line for line in log.splitlines() if line.startswith("REPORT")]
    took = ", ".join(part for part in report.split("\t")[1:] if part.endswith("ms"))
    resident, peak = function.resident() / 2**20, function.peak() / 2**20
    print(f"\n{what}: {resident:.0f} MiB in the process, {peak:.0f} MiB with the pages of files that it read; {took}")
    return log
