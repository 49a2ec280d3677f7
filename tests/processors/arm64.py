"""Smoke test of the service on an emulated arm64 processor, as on AWS Lambda: `make processors`.

    python tests/processors/arm64.py            8 images and 11 input variants
    python tests/processors/arm64.py --whole    40 images and all 88 input variants

Masks are compared with this processor's FP32 masks. The emulator is a program that sets up an arm64 Python with wheels
(`EMULATOR setup requirements.txt`) and runs it (`EMULATOR run SCRIPT ...`). The environment variable ARM64_LAB names
it; by default it is beside the checkout, like the images.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), *(str(ROOT / "tests" / name) for name in ("support", "tools", "promises", "e2e"))]

SHARED = ROOT.parent / "shared"
EMULATOR = Path(os.environ.get("ARM64_LAB", SHARED / "lab" / "arm64"))
INSTALLED = Path(os.environ.get("ARM64", "/tmp/arm64")) / "installed.txt"
"""A copy of the requirements.txt that the emulated Python was set up with."""

MIN_MEAN_DICE, MIN_DICE = 0.998, 0.99
"""Dice between emulated INT8 masks and FP32 masks of this processor: mean, and worst. INT8 on x86_64 reaches 0.9988 and
0.9974 on the same 40 images."""


def main() -> int:
    """Run the test; 0 if it passed or there is no emulator."""
    parser = argparse.ArgumentParser(description="Test the service on an emulated arm64 processor.")
    parser.add_argument("--whole", action="store_true", help="40 images and every input variant: about 25 minutes")
    whole = parser.parse_args().whole
    if not EMULATOR.is_file():
        print(f"skipped: no emulator of arm64 ({EMULATOR.name}); name one in the variable ARM64_LAB")
        return 0
    os.environ["LUNG_PRECISION"] = "fp32"
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        for part in ("images", "masks", "formats", "events", "answers"):
            (folder / part).mkdir()
        images = images_of(40 if whole else 8)
        variants = variants_of(1 if whole else 8)
        for label, data in (images | variants).items():
            (folder / "images" / label).write_bytes(data)
        sample = small_dicom()
        (folder / "formats.bin").write_bytes(sample)
        client = write_events(folder, variants["00 16-bit PNG"], stack)
        noise = run_emulated(folder)
        lines, failures = judge(folder, images, variants, client)
        failures += [f"stderr: {line}" for line in noise]
    for line in lines:
        print(line)
    for failure in failures:
        print(f"FAILED  {failure}")
    seconds = time.monotonic() - started
    print(f"arm64: {'failed' if failures else 'all checks passed'} in {seconds:.0f} s")
    if "LUNG_LEDGER" in os.environ:
        from ledger import Entry

        tried = f"arm64, {len(images)} images, {len(variants)} input variants, every output format, two events"
        verdict = "BROKEN" if failures else "kept"
        entry = Entry(
            13, "Every processor gives the same masks, without warnings", tried, "; ".join(lines), verdict, seconds
        )
        entry.write(Path(os.environ["LUNG_LEDGER"]), "arm64")
    return 1 if failures else 0


def images_of(count: int) -> dict[str, bytes]:
    """Return public validation images, evenly spread over both sets; RG1 alone where they are missing."""
    from films import packaged

    folder, found = SHARED / "data", []
    for kind in ("montgomery", "shenzhen"):
        listed = folder / "splits" / kind / "validation.txt"
        for name in listed.read_text().split() if listed.is_file() else ():
            found += sorted((folder / "input").rglob(f"CXR_png/{Path(name).stem}.png"))
    chosen = [found[position * len(found) // count] for position in range(count)] if found else []
    images = {f"image {number:02}": path.read_bytes() for number, path in enumerate(chosen)}
    return images or {"image 00": packaged("RG1_J2KR.dcm").read_bytes()}


def variants_of(step: int) -> dict[str, bytes]:
    """Return every ``step``-th input variant of RG1 at half its size."""
    from films import png
    from truth_table import CELLS, film

    variants = {f"{number:02} {name}".replace("/", "_"): write for number, (name, write) in enumerate(CELLS.items(), 1)}
    chosen = {name: write() for number, (name, write) in enumerate(variants.items()) if number % step == 0}
    return {"00 16-bit PNG": png(film(16))} | chosen


def small_dicom() -> bytes:
    """Return RG1 at half its size as DICOM, which allows every output format."""
    from films import dicom
    from truth_table import film

    return dicom(film(16))


def write_events(folder: Path, image: bytes, stack: ExitStack) -> object:
    """Write an API Gateway event and an S3 event, and start an S3 server with the image; return a client of it."""
    import pytest
    from buckets import make, s3_server

    from events.make_event import fill_event

    address = stack.enter_context(s3_server())
    buckets = make(address, stack.enter_context(pytest.MonkeyPatch.context()), versioned=True)
    buckets.drop("in/image.png", image)
    for name in ("api_gateway_v1", "s3"):
        event = json.loads((ROOT / "events" / f"{name}.json").read_text())
        event = fill_event(event, image, "in/image.png", buckets.films)
        (folder / "events" / f"{name}.json").write_text(json.dumps(event))
    return buckets


def run_emulated(folder: Path) -> list[str]:
    """Run the worker, set up first if necessary; return its lines on stderr without onnxruntime's."""
    wanted = (ROOT / "requirements.txt").read_text()
    if not INSTALLED.is_file() or INSTALLED.read_text() != wanted:
        subprocess.run([EMULATOR, "setup", "requirements.txt"], cwd=ROOT, check=True, capture_output=True)
        INSTALLED.write_text(wanted)
    environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
    environment.pop("LUNG_PRECISION")
    done = subprocess.run(
        [EMULATOR, "run", "tests/processors/arm64_worker.py", folder],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"FAILED  the worker ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return [line for line in done.stderr.splitlines() if "cpuinfo" not in line]


def judge(
    folder: Path, images: dict[str, bytes], variants: dict[str, bytes], buckets: object
) -> tuple[list[str], list[str]]:
    """Return lines of measurements, and of failures."""
    from films import dice

    from lungseg.encode.formats import FORMATS
    from lungseg.errors import ProblemError
    from lungseg.pipeline.segment import segment

    facts = json.loads((folder / "facts.json").read_text())
    lines, failures = [f"processor: {', '.join(facts)}"], []
    if facts[1:] != ["int8", "dot-products"]:
        failures.append(f"the model serves as {facts[1:]}")
    for title, group in (("images", images), ("input variants", variants)):
        agreements = {}
        for name, data in group.items():
            there = (folder / "masks" / name).read_bytes()
            try:
                agreements[name] = dice(read_mask(there), segment(data).mask)
            except ProblemError as error:
                agreements[name] = float(there == error.code.encode())
        mean, worst = float(np.mean(list(agreements.values()))), min(agreements.values())
        lines.append(f"{len(group)} {title}: Dice to FP32 here {mean:.4f} on average, {worst:.4f} at worst")
        if mean < MIN_MEAN_DICE or worst < MIN_DICE:
            failures.append(f"{title} agree at Dice {mean:.4f} on average and {worst:.4f} at worst")
    failures += judge_formats(folder, lines)
    reference = read_mask((folder / "masks" / "00 16-bit PNG").read_bytes())
    answer = json.loads((folder / "answers" / "api_gateway_v1.json").read_text())
    body = base64.b64decode(answer["body"]) if answer.get("isBase64Encoded") else b""
    if answer.get("statusCode") != 200 or not np.array_equal(read_mask(body), reference):
        failures.append(f"API Gateway's event is answered {answer.get('statusCode')}")
    if not np.array_equal(read_mask(buckets.get("in/image.png.mask.png")), reference):  # type: ignore[attr-defined]
        failures.append("S3's event gives another mask")
    lines.append("API Gateway's and S3's event: the same mask as `segment`")
    assert set(FORMATS) == {path.name for path in (folder / "formats").iterdir()}
    return lines, failures


def judge_formats(folder: Path, lines: list[str]) -> list[str]:
    """Return failures of the output formats; those that contain the mask are compared with this processor's."""
    from films import dice

    from lungseg.pipeline.segment import segment

    here = segment((folder / "formats.bin").read_bytes())
    files = {path.name: path.read_bytes() for path in (folder / "formats").iterdir()}
    with np.load(io.BytesIO(files["npz"])) as arrays:
        masks = {"npz": arrays["mask"].astype(bool)}
    masks |= {name: read_mask(files[name]) for name in ("mask", "labels")}
    with Image.open(io.BytesIO(files["probability"])) as image:
        masks["probability"] = np.asarray(image) > 32767
    agreements = {
        name: dice(mask, here.probability > 0.5 if name == "probability" else here.mask) for name, mask in masks.items()
    }
    worst = min(agreements.values())
    lines.append(f"{len(files)} output formats; Dice of the {len(masks)} that are masks {worst:.4f} at worst")
    failures = [f"format {name} is empty" for name, content in files.items() if not content]
    verdict = json.loads(files["json"])["verdict"]["decision"]
    if verdict != here.verdict.decision:
        failures.append(f"the verdict is {verdict}, here {here.verdict.decision}")
    return failures + ([f"output formats agree at Dice {worst:.4f}"] if worst < MIN_DICE else [])


def read_mask(png: bytes) -> np.ndarray:
    """Return a PNG as a bool array: what is not 0 is lung."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image) > 0


if __name__ == "__main__":
    raise SystemExit(main())
