"""Does this installation work? Each check tries what it speaks of, on a drawing; no image is needed."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lungseg import errors, limits
from lungseg.encode.formats import FORMATS
from lungseg.model import processor
from lungseg.model.lung import load_lung
from lungseg.model.precision import PrecisionReason
from lungseg.model.selfcheck import draw_phantom
from lungseg.model.session import thread_count

State = Literal["ok", "warning", "failed"]

TESTED_PYTHONS = ((3, 11), (3, 12))

REINSTALL = "Run: pip install -r lungseg/requirements.txt"

SERVICE_PACKAGES = {
    "numpy": "numpy",
    "pillow": "PIL",
    "onnxruntime": "onnxruntime",
    "pydicom": "pydicom",
    "imagecodecs": "imagecodecs",
    "tifffile": "tifffile",
    "contourpy": "contourpy",
    "pycocotools": "pycocotools",
    "highdicom": "highdicom",
    "fastapi": "fastapi",
    "mangum": "mangum",
    "python-multipart": "python_multipart",
}
"""Packages by their names at PyPI, and the modules that they bring."""

WORKSTATION_PACKAGES = {"uvicorn": "uvicorn", "tqdm": "tqdm", "httpx2": "httpx2"}
"""What `serve`, `batch` and `remote` need besides."""

WORKER_BYTES = 1300 * 2**20
"""What one process was seen to take for the largest image that is read and its overlay; half of it for its mask."""


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: what was looked at.
        state: "failed" if images cannot be segmented, or not as they should.
        text: what was found.
        remedy: what to do about it; empty if all is well.
    """

    name: str
    state: State
    text: str
    remedy: str = ""


def check_installation() -> Iterator[CheckResult]:
    """Every check, in an order in which a later one's failure may come from an earlier one's."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:  # a broken installation fails in any way
            name = check.__name__.strip("_").replace("_", " ")
            yield CheckResult(name, "failed", f"an unexpected {type(error).__name__}", REINSTALL)


def _python() -> Iterator[CheckResult]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] in TESTED_PYTHONS
    remedy = "" if good else "Use Python 3.11 or 3.12, which this program is tested with."
    yield CheckResult("Python", "ok" if good else "warning", version, remedy)


def _packages() -> Iterator[CheckResult]:
    for name, module in (SERVICE_PACKAGES | WORKSTATION_PACKAGES).items():
        try:
            importlib.import_module(module)
            yield CheckResult(name, "ok", importlib.metadata.version(name))
        except Exception as error:  # a broken one fails in any way
            state: State = "failed" if name in SERVICE_PACKAGES else "warning"
            yield CheckResult(name, state, f"cannot be imported ({type(error).__name__})", REINSTALL)


def _decoders() -> Iterator[CheckResult]:
    from lungseg.decode.selftest import check_decoders

    for found in check_decoders(draw_phantom()):
        if found.fault:
            yield CheckResult(found.name, "failed", found.fault, REINSTALL)
        else:
            yield CheckResult(found.name, "ok", "read")


def _model() -> Iterator[CheckResult]:
    try:
        model = load_lung()
    except errors.ModelError as error:
        remedy = "Check LUNG_MODEL and LUNG_PRECISION, and that lungseg/model/weights is whole (git lfs, a full copy)."
        yield CheckResult("model", "failed", str(error), remedy)
        return
    reason = model.precision_reason
    yield CheckResult("model", "ok", f"{model.card.name}, {model.card.precision}, {model.sha256[:16]}")
    text = f"{model.card.precision}, because {reason.text}"
    if reason is PrecisionReason.SELF_CHECK_FAILED and processor.dot_products():
        remedy = "Report it with the output of `info`. FP32 gives the same masks, about 3 times as slowly."
        yield CheckResult("precision", "warning", text, remedy)
    elif reason is PrecisionReason.NO_INT8_FILE and processor.dot_products():
        remedy = "Write the INT8 file with `python -m model_export export`: about 3 times as fast on this processor."
        yield CheckResult("precision", "warning", text, remedy)
    else:
        yield CheckResult("precision", "ok", text)


def _view_model() -> Iterator[CheckResult]:
    from lungseg.model.view import load_view

    try:
        yield CheckResult("view model", "ok", load_view().sha256[:16])
    except errors.ModelError as error:
        yield CheckResult("view model", "failed", str(error), "Check that lungseg/model/weights is whole.")


def _segmentation() -> Iterator[CheckResult]:
    from lungseg.decode.selftest import dicom_file
    from lungseg.pipeline.segment import segment

    image = dicom_file(draw_phantom())
    result = segment(image)
    good = result.mask.any() and not result.mask.all()
    remedy = "" if good else "Fetch lungseg/model/weights again."
    share = f"lungs cover {result.lung_share:.0%} of it"
    yield CheckResult("segmentation of a drawing", "ok" if good else "failed", share, remedy)
    for output_format in FORMATS.values():
        try:
            output_format.encode(result)
        except Exception as error:  # whatever it is, this format fails
            yield CheckResult(
                f"format {output_format.name}", "failed", f"cannot be made ({type(error).__name__})", REINSTALL
            )
        else:
            yield CheckResult(f"format {output_format.name}", "ok", "made")


def _memory() -> Iterator[CheckResult]:
    free = available_memory()
    if free is None:
        yield CheckResult(
            "memory", "warning", "cannot be told on this system", f"Have {_mib(WORKER_BYTES)} for each worker."
        )
        return
    workers = free // WORKER_BYTES
    text = f"{_mib(free)} free; a process takes up to {_mib(WORKER_BYTES)} for {limits.MAX_PIXELS:,} pixels"
    if workers:
        yield CheckResult("memory", "ok", f"{text}: enough for {workers}")
    else:
        yield CheckResult("memory", "warning", text, "End other programs, or send smaller images.")


def _processor() -> Iterator[CheckResult]:
    yield CheckResult("processor", "ok", processor.describe_processor())


def _threads() -> Iterator[CheckResult]:
    try:
        threads = thread_count()
    except errors.ModelError as error:
        yield CheckResult("threads", "failed", str(error), "Correct LUNG_THREADS, or leave it out.")
        return
    cores = os.cpu_count() or 1
    remedy = "" if threads <= cores else f"Set LUNG_THREADS to {cores} or fewer."
    yield CheckResult(
        "threads", "ok" if threads <= cores else "warning", f"{threads} for an image, of {cores} cores", remedy
    )


def available_memory() -> int | None:
    """Bytes that programs may still take, by the kernel and by the container's limit; None if it cannot be told."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):
        return free


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


CHECKS: tuple[Callable[[], Iterator[CheckResult]], ...] = (
    _python,
    _packages,
    _decoders,
    _model,
    _view_model,
    _segmentation,
    _memory,
    _processor,
    _threads,
)
