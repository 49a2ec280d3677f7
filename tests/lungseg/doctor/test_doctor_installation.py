"""`doctor` without a service: each fault of an installation is reported with a remedy."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from lungseg import errors
from lungseg.decode import selftest
from lungseg.doctor import installation
from lungseg.doctor.installation import REINSTALL, CheckResult, check_installation
from lungseg.encode.formats import FORMATS
from lungseg.model import processor
from lungseg.model.precision import PrecisionReason
from lungseg.terminal import EXTRAS

ROOT = Path(__file__).parents[3]


def fail_to_load(*_: object, **__: object) -> None:
    raise errors.ModelError("the model is broken")


def test_exception_in_a_check_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def _check_something() -> Iterator[CheckResult]:
        yield CheckResult("first", "ok", "fine")
        raise ZeroDivisionError("any text")

    monkeypatch.setattr(installation, "CHECKS", (_check_something,))
    assert list(check_installation()) == [
        CheckResult("first", "ok", "fine"),
        CheckResult("something", "failed", "an unexpected ZeroDivisionError", REINSTALL),
    ]


@pytest.mark.parametrize(("version", "state"), [((3, 11, 7), "ok"), ((3, 13, 1), "ok"), ((3, 99, 0), "warning")])
def test_untested_python_is_a_warning(monkeypatch: pytest.MonkeyPatch, version: tuple[int, ...], state: str) -> None:
    monkeypatch.setattr(installation, "sys", SimpleNamespace(version_info=version))
    (found,) = installation._check_python()
    assert (found.name, found.state, found.text) == ("Python", state, ".".join(map(str, version)))
    assert bool(found.remedy) == (state == "warning")


def test_lists_equal_those_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def packages(*lists: list[str]) -> set[str]:
        return {str(re.match(r"[\w-]+", line)[0]) for line in itertools.chain(*lists)}  # type: ignore[index]

    extras = project["optional-dependencies"]
    assert installation.BASE_PACKAGES.keys() | installation.COMMAND_PACKAGES.keys() == packages(project["dependencies"])
    assert installation.EXTRA_PACKAGES.keys() == packages(*(extras[each] for each in ("serve", "remote", "dicom-net")))
    for extra in ("serve", "remote", "dicom-net"):
        modules = {installation.EXTRA_PACKAGES[name] for name in packages(extras[extra])}
        assert modules == {module for module in EXTRAS if EXTRAS[module] == extra} - {"botocore"}
    found = [re.findall(r"^Programming Language :: Python :: 3\.(\d+)$", line) for line in project["classifiers"]]
    assert [(3, int(minor)) for minors in found for minor in minors] == list(installation.TESTED_PYTHONS)
    matrix = re.search(r"^ +python: (\[.*\])$", (ROOT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert matrix is not None
    assert json.loads(matrix[1]) == [f"{major}.{minor}" for major, minor in installation.TESTED_PYTHONS]


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_without(name: str, package: str | None = None) -> ModuleType:
        if name in ("pydicom", "boto3", "tqdm"):
            raise OSError("a library is missing")
        return before(name, package)

    before = importlib.import_module
    list(installation._check_packages())  # import each package before the import is replaced

    monkeypatch.setattr(installation.importlib, "import_module", import_without)
    found = {check.name: check for check in installation._check_packages()}
    # Everything needs pydicom; only `remote` needs boto3.
    assert found["pydicom"] == CheckResult("pydicom", "failed", "cannot be imported (OSError)", REINSTALL)
    remedy = 'Run: pip install "lungseg[remote]"'
    assert found["boto3"] == CheckResult("boto3", "warning", "cannot be imported (OSError)", remedy)
    assert found["tqdm"] == CheckResult("tqdm", "warning", "cannot be imported (OSError)", REINSTALL)
    assert {check.state for name, check in found.items() if name not in ("pydicom", "boto3", "tqdm")} == {"ok"}


def test_absent_extras_are_information(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda _: None)
    found = {check.name: check for check in installation._check_packages()}
    assert found["fastapi"] == CheckResult("fastapi", "info", "not installed (lungseg[serve])")
    assert found["boto3"] == CheckResult("boto3", "info", "not installed (lungseg[remote])")
    assert {check.state for check in found.values()} == {"ok", "info"}
    assert "mangum" not in found


def test_failed_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [selftest.DecoderCheck("WebP", "cannot be read (RuntimeError)"), selftest.DecoderCheck("PNG")]
    monkeypatch.setattr(selftest, "check_decoders", lambda _: iter(found))
    assert list(installation._check_decoders()) == [
        CheckResult("WebP", "failed", "cannot be read (RuntimeError)", REINSTALL),
        CheckResult("PNG", "ok", "read"),
    ]


def test_unloadable_model_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "load_lung", fail_to_load)
    monkeypatch.setattr("lungseg.model.view.load_view", fail_to_load)
    (model,), (view,) = installation._check_model(), installation._check_view_model()
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
def test_precision_is_a_warning_only_if_int8_should_serve(
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
    first, check = installation._check_model()
    assert first == CheckResult("model", "ok", f"lungs, {precision}, {'0' * 16}")
    assert check.state == state
    assert check.text == f"{precision}, because {reason.text}"
    assert bool(check.remedy) == (state == "warning")


def test_failed_format_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_encode(*_: object) -> bytes:
        raise ImportError

    monkeypatch.setitem(FORMATS, "dicom-seg", SimpleNamespace(name="dicom-seg", encode=fail_to_encode))  # type: ignore[arg-type]
    found = {check.name: check for check in installation._check_segmentation()}
    assert found["format dicom-seg"] == CheckResult(
        "format dicom-seg", "failed", "cannot be written (ImportError)", REINSTALL
    )
    assert found["format all"].state == "failed"  # which contains it
    assert {check.state for name, check in found.items() if name not in ("format dicom-seg", "format all")} == {"ok"}


@pytest.mark.parametrize(
    ("free", "state", "says"),
    [
        (None, "warning", "unknown"),
        (installation.WORKER_BYTES - 1, "warning", "1,300 MiB free"),
        (2 * installation.WORKER_BYTES, "ok", "enough for 2 workers"),
    ],
)
def test_low_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch, free: int | None, state: str, says: str) -> None:
    monkeypatch.setattr(installation, "available_memory", lambda: free)
    (found,) = installation._check_memory()
    assert found.state == state
    assert says in found.text
    assert bool(found.remedy) == (state == "warning")


@pytest.mark.parametrize(("threads", "state"), [("2", "ok"), ("3", "warning"), ("many", "failed"), ("0", "failed")])
def test_more_threads_than_cores_is_a_warning(monkeypatch: pytest.MonkeyPatch, threads: str, state: str) -> None:
    monkeypatch.setattr(installation, "core_count", lambda: 2)
    monkeypatch.setenv("LUNG_THREADS", threads)
    (found,) = installation._check_threads()
    assert found.state == state
    assert bool(found.remedy) == (state != "ok")
