"""Check this installation: packages, decoders, models, outputs, memory, threads. No image is needed."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from lungseg import errors, limits
from lungseg.batch.worker_count import WORKER_BYTES, available_memory
from lungseg.encode.formats import FORMATS
from lungseg.model import processor
from lungseg.model.lung import load_lung
from lungseg.model.precision import PrecisionReason
from lungseg.model.selfcheck import draw_phantom
from lungseg.model.session import core_count, thread_count
from lungseg.terminal import EXTRAS, install_command

State = Literal["ok", "info", "warning", "failed"]

TESTED_PYTHONS = ((3, 11), (3, 12), (3, 13))
"""Those that CI installs and runs the package with."""

REINSTALL = f"Run: {install_command('lungseg')}"

BASE_PACKAGES = {
    "numpy": "numpy",
    "pillow": "PIL",
    "onnxruntime": "onnxruntime",
    "pydicom": "pydicom",
    "imagecodecs": "imagecodecs",
    "simplejpeg": "simplejpeg",
    "tifffile": "tifffile",
    "contourpy": "contourpy",
    "pycocotools": "pycocotools",
    "highdicom": "highdicom",
}
"""Modules by the name of their package on PyPI."""

COMMAND_PACKAGES = {"tqdm": "tqdm", "shtab": "shtab"}
"""Also needed by `batch`, `remote` and `completion`, and not in the service's image."""

EXTRA_PACKAGES = {
    "fastapi": "fastapi",
    "fastapi-offline": "fastapi_offline",
    "python-multipart": "python_multipart",
    "python-mimeparse": "mimeparse",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "boto3": "boto3",
    "httpx2": "httpx2",
    "dicomweb-client": "dicomweb_client",
    "requests": "requests",
    "requests-toolbelt": "requests_toolbelt",
    "pynetdicom": "pynetdicom",
    "prometheus-client": "prometheus_client",
}
"""Only `serve`, `remote`, `pacs` and `dicomweb` need them."""


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: of the check.
        state: "info" if an optional part is absent, "failed" if images cannot be segmented, or not correctly.
        text: what was found.
        remedy: what to do; empty if nothing.
    """

    name: str
    state: State
    text: str
    remedy: str = ""


def check_installation() -> Iterator[CheckResult]:
    """Run all checks. An earlier failure may cause a later one."""
    for check in CHECKS:
        try:
            yield from check()
        except Exception as error:  # a broken installation raises anything
            name = check.__name__.removeprefix("_check_").replace("_", " ")
            yield CheckResult(name, "failed", f"an unexpected {type(error).__name__}", REINSTALL)


def _check_python() -> Iterator[CheckResult]:
    version = ".".join(map(str, sys.version_info[:3]))
    is_tested = sys.version_info[:2] in TESTED_PYTHONS
    *others, newest = (f"{major}.{minor}" for major, minor in TESTED_PYTHONS)
    remedy = f"Use Python {', '.join(others)} or {newest}, with which this program is tested."
    yield CheckResult("Python", "ok" if is_tested else "warning", version, "" if is_tested else remedy)


def _check_packages() -> Iterator[CheckResult]:
    for name, module in (BASE_PACKAGES | COMMAND_PACKAGES | EXTRA_PACKAGES).items():
        if name in EXTRA_PACKAGES and importlib.util.find_spec(module) is None:
            yield CheckResult(name, "info", f"not installed (lungseg[{EXTRAS[module]}])")
            continue
        try:
            importlib.import_module(module)
            yield CheckResult(name, "ok", importlib.metadata.version(name))
        except Exception as error:  # a broken package raises anything
            state: State = "failed" if name in BASE_PACKAGES else "warning"
            remedy = f"Run: {install_command(module)}"
            yield CheckResult(name, state, f"cannot be imported ({type(error).__name__})", remedy)


def _check_decoders() -> Iterator[CheckResult]:
    from lungseg.decode.selftest import check_decoders

    for found in check_decoders(draw_phantom()):
        if found.fault:
            yield CheckResult(found.name, "failed", found.fault, REINSTALL)
        else:
            yield CheckResult(found.name, "ok", "read")


def _check_model() -> Iterator[CheckResult]:
    try:
        model = load_lung()
    except errors.ModelError as error:
        remedy = "Check LUNG_MODEL and LUNG_PRECISION, and that lungseg/model/weights is complete."
        yield CheckResult("model", "failed", str(error), remedy)
        return
    reason = model.precision_reason
    yield CheckResult("model", "ok", f"{model.card.name}, {model.card.precision}, {model.sha256[:16]}")
    text = f"{model.card.precision}, because {reason.text}"
    if reason is PrecisionReason.SELF_CHECK_FAILED and processor.dot_products():
        remedy = "Report it with the output of `info`. FP32 gives the same masks, at about a third of the speed."
        yield CheckResult("precision", "warning", text, remedy)
    elif reason is PrecisionReason.NO_INT8_FILE and processor.dot_products():
        remedy = "Write the INT8 file with `python -m model_export export`; it is about 3 times as fast here."
        yield CheckResult("precision", "warning", text, remedy)
    else:
        yield CheckResult("precision", "ok", text)


def _check_view_model() -> Iterator[CheckResult]:
    from lungseg.model.view import load_view

    try:
        yield CheckResult("view model", "ok", load_view().sha256[:16])
    except errors.ModelError as error:
        yield CheckResult("view model", "failed", str(error), "Check that lungseg/model/weights is complete.")


def _check_segmentation() -> Iterator[CheckResult]:
    from lungseg.decode.selftest import dicom_file
    from lungseg.pipeline.segment import segment

    result = segment(dicom_file(draw_phantom()))
    has_lungs = result.mask.any() and not result.mask.all()
    remedy = "" if has_lungs else "Download lungseg/model/weights again."
    share = f"lungs cover {result.lung_share:.0%} of it"
    yield CheckResult("segmentation of the test pattern", "ok" if has_lungs else "failed", share, remedy)
    for output_format in FORMATS.values():
        try:
            output_format.encode(result)
        except Exception as error:  # an encoder may raise anything
            text = f"cannot be written ({type(error).__name__})"
            yield CheckResult(f"format {output_format.name}", "failed", text, REINSTALL)
        else:
            yield CheckResult(f"format {output_format.name}", "ok", "written")


def _check_memory() -> Iterator[CheckResult]:
    free = available_memory()
    if free is None:
        remedy = f"Reserve {_mebibytes(WORKER_BYTES)} for each worker."
        yield CheckResult("memory", "warning", "unknown on this system", remedy)
        return
    workers = free // WORKER_BYTES
    text = f"{_mebibytes(free)} free; a process needs up to {_mebibytes(WORKER_BYTES)} for {limits.MAX_PIXELS:,} pixels"
    if workers:
        yield CheckResult("memory", "ok", f"{text}: enough for {workers} worker{'s' * (workers != 1)}")
    else:
        yield CheckResult("memory", "warning", text, "Close other programs, or use smaller images.")


def _check_processor() -> Iterator[CheckResult]:
    yield CheckResult("processor", "ok", processor.describe_processor())


def _check_threads() -> Iterator[CheckResult]:
    try:
        threads = thread_count()
    except errors.ModelError as error:
        yield CheckResult("threads", "failed", str(error), "Correct LUNG_THREADS, or unset it.")
        return
    cores = core_count()
    remedy = "" if threads <= cores else f"Set LUNG_THREADS to {cores} or fewer."
    state: State = "ok" if threads <= cores else "warning"
    yield CheckResult("threads", state, f"{threads} per image, on {cores} cores", remedy)


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


CHECKS: tuple[Callable[[], Iterator[CheckResult]], ...] = (
    _check_python,
    _check_packages,
    _check_decoders,
    _check_model,
    _check_view_model,
    _check_segmentation,
    _check_memory,
    _check_processor,
    _check_threads,
)
