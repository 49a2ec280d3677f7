"""ONNX files as onnxruntime sessions, and the number of threads that they run on."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import onnxruntime

from lungseg import settings
from lungseg.errors import ModelError
from lungseg.model import checksum

WEIGHTS_FOLDER = Path(__file__).parent / "weights"

LAMBDA_MB_PER_VCPU = 1769
"""AWS Lambda gives one vCPU for each 1,769 MB of memory (Lambda developer guide, "Configure function memory")."""


def open_session(path: Path, threads: int, float_sums: bool = False) -> tuple[onnxruntime.InferenceSession, str]:
    """Return a session of an ONNX file on ``threads`` CPU threads, and the file's digest.

    Args:
        path: the ONNX file.
        threads: for one run.
        float_sums: keep an INT8 model's QuantizeLinear and DequantizeLinear as they are (optimisation level BASIC)
            instead of fusing them with the convolutions between them. Sums are then floats, so every processor gives
            the same answer, slowly.

    Raises:
        ModelError: the file is missing, damaged or not ONNX.
    """
    try:
        model = path.read_bytes()
    except OSError as error:
        raise ModelError(f"The model cannot be read ({error.strerror}).") from None
    digest = checksum.verify_checksum(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if float_sums:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelError(f"The model is not a valid ONNX file ({type(error).__name__}).") from None
    return session, digest


def check_single_node(nodes: list[Any], shape: list[int]) -> str:
    """Return the name of a session's only input, or only output.

    Raises:
        ModelError: there are several, or it is not float32 or not of this shape.
    """
    if [(node.type, node.shape) for node in nodes] != [("tensor(float)", shape)]:
        raise ModelError("The model's inputs and outputs do not fit its own card.")
    return str(nodes[0].name)


def thread_count() -> int:
    """Return the threads for one image: ``LUNG_THREADS``, else the vCPUs of a Lambda function's memory, else all cores.

    Raises:
        ModelError: ``LUNG_THREADS`` is not a positive number.
    """
    count = settings.THREADS.read(None)
    if count is not None:
        return count
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is not None:
        return max(1, round(int(memory) / LAMBDA_MB_PER_VCPU))
    return core_count()


def core_count() -> int:
    """Return how many cores this process may use, by its affinity (taskset, Slurm) and its container's limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        # "200000 100000": microseconds of processor time, in each period of so many; "max 100000" without a limit.
        # https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
        share, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
    except (OSError, ValueError):
        return cores
    return max(1, min(cores, math.ceil(share / period)))
