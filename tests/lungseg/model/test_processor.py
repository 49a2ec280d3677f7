"""Processors are described by what their operating system says; unknown systems give None, never a wrong answer."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from lungseg.model import processor


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Forget what was detected, before and after."""
    processor.instructions.cache_clear()
    yield
    processor.instructions.cache_clear()


class FakeFunction:
    """A function of a C library, to which ctypes' attributes can be given."""

    def __init__(self, answer: int) -> None:
        self.answer = answer

    def __call__(self, entry: int) -> int:
        """Return the answer for AT_HWCAP, and 0 otherwise."""
        return self.answer if entry == processor.AT_HWCAP else 0


def pretend(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, library: object = None) -> None:
    """Pretend to run on another system."""
    monkeypatch.setattr(processor, "sys", SimpleNamespace(platform=system))
    monkeypatch.setattr(processor, "platform", SimpleNamespace(machine=lambda: machine))
    if library is not None:
        monkeypatch.setattr(processor, "ctypes", SimpleNamespace(**vars(ctypes) | {"CDLL": lambda _: library}))


def test_graviton_has_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities = 1 << processor.ARM_FEATURES["asimd"] | 1 << processor.ARM_FEATURES["asimddp"]
    pretend(monkeypatch, "linux", "aarch64", SimpleNamespace(getauxval=FakeFunction(capabilities)))
    assert processor.dot_products() == ("asimddp",)
    assert processor.describe_processor() == "aarch64 with asimd, asimddp"


def test_old_arm_processor_has_no_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "linux", "aarch64", SimpleNamespace(getauxval=FakeFunction(1 << 1)))
    assert processor.dot_products() == ()


def test_processor_without_known_instructions_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "linux", "aarch64", SimpleNamespace(getauxval=FakeFunction(0)))
    assert processor.describe_processor() == "aarch64"


def test_apple_silicon_has_dot_products(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "darwin", "arm64")
    assert processor.dot_products() == ("asimddp",)


@pytest.mark.parametrize(("system", "machine"), [("win32", "AMD64"), ("darwin", "x86_64")])
def test_other_systems_are_unknown(system: str, machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, system, machine)
    assert processor.dot_products() is None
    assert processor.describe_processor() == f"{machine}, instructions unknown"


def test_c_library_without_cpuid_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "linux", "x86_64", SimpleNamespace())
    assert processor.dot_products() is None
