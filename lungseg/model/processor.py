"""Detect the processor instructions that decide how a network runs.

Names are those of Linux's /proc/cpuinfo. That file is not read: under emulation it shows the host's processor, while
onnxruntime uses the CPUID instruction. The C library has used it too, and can be queried.
"""

from __future__ import annotations

import ctypes
import functools
import platform
import sys

X86_FEATURES = {
    "avx2": (1, 1, 5),
    "avx512f": (1, 1, 16),
    "avx512_vnni": (1, 2, 11),
    "avx_vnni": (6, 0, 4),
    "avx512_bf16": (6, 0, 5),
    "amx_bf16": (1, 3, 22),
}
"""Where glibc stores each: leaf (1 is CPUID 7.0, 6 is CPUID 7.1), register (EAX, EBX, ECX, EDX) and bit.

<sys/platform/x86.h>, https://sourceware.org/glibc/manual/latest/html_node/X86.html
"""

ARM_FEATURES = {"asimd": 1, "asimddp": 20, "sve": 22}
"""Bits of AT_HWCAP, https://docs.kernel.org/arch/arm64/elf_hwcaps.html"""

AT_HWCAP = 16
"""The entry of getauxval(3) that holds them."""

DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "asimddp")
"""Instructions that sum products of 8-bit numbers in 32 bits. AVX2 alone sums pairs in 16 bits, which saturates:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"""


class _Feature(ctypes.Structure):
    """glibc's ``struct cpuid_feature``: what the processor has, and what the operating system enables."""

    _fields_ = (("present", ctypes.c_uint * 4), ("active", ctypes.c_uint * 4))


@functools.cache
def instructions() -> frozenset[str] | None:
    """Return the names in X86_FEATURES or ARM_FEATURES that this processor has; None if the system does not say."""
    machine = platform.machine().lower()
    if sys.platform == "darwin" and machine == "arm64":
        return frozenset({"asimd", "asimddp"})  # Apple silicon, from the M1 on
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
        return _arm(library) if machine == "aarch64" else _x86(library)
    except (AttributeError, OSError):  # another C library, or glibc before 2.33
        return None


def _x86(library: ctypes.CDLL) -> frozenset[str]:
    leaf = library.__x86_get_cpuid_feature_leaf
    leaf.restype, leaf.argtypes = ctypes.POINTER(_Feature), (ctypes.c_uint,)
    return frozenset(
        name
        for name, (index, register, bit) in X86_FEATURES.items()
        if leaf(index).contents.active[register] >> bit & 1
    )


def _arm(library: ctypes.CDLL) -> frozenset[str]:
    getauxval = library.getauxval
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, (ctypes.c_ulong,)
    capabilities = getauxval(AT_HWCAP)
    return frozenset(name for name, bit in ARM_FEATURES.items() if capabilities >> bit & 1)


def dot_products() -> tuple[str, ...] | None:
    """Return this processor's 8-bit dot product instructions; () if it has none, None if that is unknown."""
    found = instructions()
    return None if found is None else tuple(name for name in DOT_PRODUCTS if name in found)


def describe_processor() -> str:
    """Return the architecture and its instructions, such as "x86_64 with avx2, avx512f, avx512_vnni"."""
    found = instructions()
    if found is None:
        return f"{platform.machine()}, instructions unknown"
    order = [name for name in (*X86_FEATURES, *ARM_FEATURES) if name in found]
    return f"{platform.machine()} with {', '.join(order)}" if order else platform.machine()
