"""`doctor` on an installation that is not well: each thing that can be wrong is told, with what to do about it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lungseg import errors
from lungseg.decode import selftest
from lungseg.doctor import installation
from lungseg.doctor.installation import REINSTALL, CheckResult, available_memory, check_installation
from lungseg.encode.formats import FORMATS
from lungseg.model import processor
from lungseg.model.precision import PrecisionReason

Files = dict[str, str | None]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    """What the kernel says, by its files' names; None is a file that is not there."""
    said: Files = {}
    before = Path.read_text

    def read_text(path: Path, *arguments: Any, **options: Any) -> str:
        if str(path) not in said:
            return before(path, *arguments, **options)
        text = said[str(path)]
        if text is None:
            raise FileNotFoundError(path)
        return StringIO(text).read()

    monkeypatch.setattr(Path, "read_text", read_text)
    return said


def broken(*_: object, **__: object) -> None:
    raise errors.ModelError("the model is broken")


def test_an_exception_in_a_check_is_one_more_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def _some_check() -> Iterator[CheckResult]:
        yield CheckResult("first", "ok", "well")
        raise ZeroDivisionError("whatever stands in here")

    monkeypatch.setattr(installation, "CHECKS", (_some_check,))
    assert list(check_installation()) == [
        CheckResult("first", "ok", "well"),
        CheckResult("some check", "failed", "an unexpected ZeroDivisionError", REINSTALL),
    ]


@pytest.mark.parametrize(("version", "state"), [((3, 11, 7), "ok"), ((3, 12, 0), "ok"), ((3, 13, 1), "warning")])
def test_another_python_is_a_warning(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str) -> None:
    monkeypatch.setattr(installation, "sys", SimpleNamespace(version_info=version))
    (found,) = installation._python()
    assert (found.name, found.state, found.text) == ("Python", state, ".".join(map(str, version)))
    assert bool(found.remedy) == (state == "warning")


def test_a_package_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str, package: str | None = None) -> ModuleType:
        if name in ("pydicom", "tqdm"):
            raise OSError("a library is missing")
        return before(name, package)

    before = importlib.import_module
    list(installation._packages())  # each of them is imported for the first time as it is

    monkeypatch.setattr(installation.importlib, "import_module", without)
    found = {check.name: check for check in installation._packages()}
    # Without the one no image is read; the other is what a workstation adds.
    assert found["pydicom"] == CheckResult("pydicom", "failed", "cannot be imported (OSError)", REINSTALL)
    assert found["tqdm"] == CheckResult("tqdm", "warning", "cannot be imported (OSError)", REINSTALL)
    assert {check.state for name, check in found.items() if name not in ("pydicom", "tqdm")} == {"ok"}


def test_failed_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [selftest.DecoderCheck("WebP", "cannot be read (RuntimeError)"), selftest.DecoderCheck("PNG")]
    monkeypatch.setattr(selftest, "check_decoders", lambda _: iter(found))
    assert list(installation._decoders()) == [
        CheckResult("WebP", "failed", "cannot be read (RuntimeError)", REINSTALL),
        CheckResult("PNG", "ok", "read"),
    ]


def test_models_that_cannot_be_loaded_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "load_lung", broken)
    monkeypatch.setattr("lungseg.model.view.load_view", broken)
    (model,), (view,) = installation._model(), installation._view_model()
    for found in (model, view):
        assert (found.state, found.text) == ("failed", "the model is broken")
        assert "lungseg/model/weights" in found.remedy


@pytest.mark.parametrize(
    ("precision", "reason", "products", "state"),
    [
        ("int8", PrecisionReason.DOT_PRODUCTS, ("avx_vnni",), "ok"),
        ("fp32", PrecisionReason.NO_DOT_PRODUCTS, (), "ok"),
        ("fp32", PrecisionReason.SETTING, ("avx_vnni",), "ok"),
        ("fp32", PrecisionReason.SELF_CHECK_FAILED, None, "ok"),
        ("fp32", PrecisionReason.SELF_CHECK_FAILED, ("avx_vnni",), "warning"),
        ("fp32", PrecisionReason.NO_INT8_FILE, ("avx_vnni",), "warning"),
        ("fp32", PrecisionReason.NO_INT8_FILE, (), "ok"),
    ],
)
def test_precision_is_a_warning_only_where_int8_should_serve(
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    reason: PrecisionReason,
    products: tuple[str, ...] | None,
    state: str,
) -> None:
    card = SimpleNamespace(name="lungs", precision=precision)
    model = SimpleNamespace(card=card, sha256="0" * 64, precision_reason=reason)
    monkeypatch.setattr(installation, "load_lung", lambda: model)
    monkeypatch.setattr(processor, "dot_products", lambda: products)
    first, check = installation._model()
    assert first == CheckResult("model", "ok", f"lungs, {precision}, {'0' * 16}")
    assert check.state == state
    assert check.text == f"{precision}, because {reason.text}"
    assert bool(check.remedy) == (state == "warning")


def test_a_format_that_cannot_be_made_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_form(*_: object) -> bytes:
        raise ImportError

    monkeypatch.setitem(FORMATS, "dicom-seg", SimpleNamespace(name="dicom-seg", encode=no_form))  # type: ignore[arg-type]
    found = {check.name: check for check in installation._segmentation()}
    assert found["format dicom-seg"] == CheckResult(
        "format dicom-seg", "failed", "cannot be made (ImportError)", REINSTALL
    )
    assert found["format all"].state == "failed"  # which holds it
    assert {check.state for name, check in found.items() if name not in ("format dicom-seg", "format all")} == {"ok"}


MEMINFO = "MemTotal: 9 kB\nMemAvailable: 4096000 kB\n"
GROUP = "/sys/fs/cgroup/memory."


@pytest.mark.parametrize(
    ("said", "free"),
    [
        ({"/proc/meminfo": None}, None),
        ({"/proc/meminfo": "MemTotal: 9 kB\n"}, None),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": None}, 4096000 * 1024),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": "max\n", f"{GROUP}current": "5\n"}, 4096000 * 1024),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": "1000\n", f"{GROUP}current": "400\n"}, 600),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": f"{2**40}\n", f"{GROUP}current": "0\n"}, 4096000 * 1024),
        ({"/proc/meminfo": MEMINFO, f"{GROUP}max": "?\n", f"{GROUP}current": "0\n"}, 4096000 * 1024),
    ],
)
def test_memory_is_what_both_the_kernel_and_the_container_leave(files: Files, said: Files, free: int | None) -> None:
    files.update(said)
    assert available_memory() == free


@pytest.mark.parametrize(
    ("free", "state", "says"),
    [
        (None, "warning", "cannot be told"),
        (installation.WORKER_BYTES - 1, "warning", "1,300 MiB free"),
        (2 * installation.WORKER_BYTES, "ok", "enough for 2"),
    ],
)
def test_too_little_memory_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, free: int | None, state: str, says: str
) -> None:
    monkeypatch.setattr(installation, "available_memory", lambda: free)
    (found,) = installation._memory()
    assert found.state == state
    assert says in found.text
    assert bool(found.remedy) == (state == "warning")


@pytest.mark.parametrize(("threads", "state"), [("2", "ok"), ("3", "warning"), ("many", "failed"), ("0", "failed")])
def test_more_threads_than_cores_are_a_warning(monkeypatch: pytest.MonkeyPatch, threads: str, state: str) -> None:
    monkeypatch.setattr(installation.os, "cpu_count", lambda: 2)
    monkeypatch.setenv("LUNG_THREADS", threads)
    (found,) = installation._threads()
    assert found.state == state
    assert bool(found.remedy) == (state != "ok")
