"""Imports of a cold start: few modules, and no heavy package for PNG and JPEG."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from films import encode
from numpy.typing import NDArray
from PIL import Image

EVENT = json.loads((Path(__file__).parents[2] / "events" / "api_gateway_v1.json").read_text())

HEAVY = (
    *("torch", "torchvision", "monai", "onnx", "model_export"),
    *("scipy", "matplotlib", "skimage", "cv2", "pandas", "tqdm"),
    *("pydicom", "highdicom", "tifffile", "pycocotools"),
    *("boto3", "botocore", "aws_lambda_powertools", "httpx2", "uvicorn"),
)
"""Packages that PNG and JPEG do not need; each would add tens or hundreds of milliseconds to every start."""

MODULES = 668
"""Modules that the HTTP API may import in all for a PNG and a JPEG, Python's own among them. Of these imagecodecs has
11 (3.6 ms), which save ten with a large PNG, and the strict JPEG decoder 3.
Measure the cost with `make bench-cold` before you raise it."""

PROGRAM = """
import json, sys
import serverless
at_import = sorted(sys.modules)
answers = [serverless.handler(event, None) for event in json.load(sys.stdin)]
print(json.dumps([at_import, sorted(sys.modules), [each["statusCode"] for each in answers]]))
"""


@pytest.fixture(scope="module")
def imported(rg1_png: bytes, rg1_pixels: NDArray[Any]) -> tuple[list[str], list[str]]:
    """Return the modules of a process after the import, and after one PNG and one JPEG."""
    jpeg = encode(Image.fromarray((rg1_pixels >> 8).astype("uint8")), "JPEG", quality=90)
    events = [EVENT | {"body": base64.b64encode(film).decode()} for film in (rg1_png, jpeg)]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=True,
        # As template.yaml sets them, and Lambda itself.
        env=os.environ | {"LUNG_DOOR": "http", "AWS_LAMBDA_FUNCTION_NAME": "api"},
    )
    *modules, statuses = json.loads(run.stdout)
    assert statuses == [200, 200]
    # An editable install finds its package through a module of setuptools, which Lambda does not have.
    at_import, at_end = ([name for name in names if not name.startswith("__editable__")] for names in modules)
    return at_import, at_end


@pytest.mark.parametrize("package", HEAVY)
def test_png_and_jpeg_do_not_import(package: str, imported: tuple[list[str], list[str]]) -> None:
    assert package not in imported[1]


def test_own_modules_are_imported_in_init(imported: tuple[list[str], list[str]]) -> None:
    """Imports during the first image delay it; Lambda has the INIT phase for them."""
    at_import, at_end = imported
    assert [name for name in sorted({*at_end} - {*at_import}) if name.partition(".")[0] in ("app", "lungseg")] == []


def test_module_count_stays_within_budget(imported: tuple[list[str], list[str]]) -> None:
    assert len(imported[1]) <= MODULES
