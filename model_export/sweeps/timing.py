"""Measure the cost of networks: weights, operations, and time in onnxruntime on one thread."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from model_export.config import Config
from model_export.network.unet import build_network

RACE_ROUNDS = 15


def race_networks(files: list[Path]) -> list[float]:
    """Return the milliseconds of each network of ``files`` for one image on one thread: the median of RACE_ROUNDS runs.

    The networks run in turn, so that a slow moment of the machine affects all of them. Speed depends neither on the
    weights nor on the image, which is noise.
    """
    sessions = [_load(path) for path in files]
    shapes = [session.get_inputs()[0] for session in sessions]
    random = np.random.default_rng(1)
    inputs = [{node.name: random.standard_normal(node.shape, np.float32)} for node in shapes]
    times: list[list[float]] = [[] for _ in files]
    for number in tqdm(range(1 + RACE_ROUNDS), desc="race", unit="round", leave=False):
        for session, image, turns in zip(sessions, inputs, times, strict=True):
            started = time.perf_counter()
            session.run(None, image)
            if number:  # the first run also allocates
                turns.append(1000 * (time.perf_counter() - started))
    return [statistics.median(turns) for turns in times]


def count_gigaflops(config: Config, size: int) -> float:
    """Return the GFLOP for one image of ``size`` x ``size`` pixels; a multiply-add counts twice."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        build_network(config).eval()(torch.zeros(1, config.in_channels, size, size))
    return counter.get_total_flops() / 1e9


def count_million_weights(config: Config) -> float:
    """Return the number of weights of a configuration's network, in millions."""
    with torch.device("meta"):
        network = build_network(config)
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def _load(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
