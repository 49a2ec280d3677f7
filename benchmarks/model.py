"""The served network against the author's 31.0 M U-Net and its own FP32 form: one run, one core, the same film.

    make bench-model

Every network runs in onnxruntime on one thread, interleaved, so that a slow moment of the machine hits all of them;
the medians and their ratios are printed. Speed does not depend on weights, so the author's are random.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch.utils.flop_counter import FlopCounterMode

from app import network
from app.preprocess import InputSpec
from model_export.config import Config, build
from model_export.export import to_onnx

ROUNDS = 15
AUTHOR = Config(in_channels=3, base=64, depth=4, max_channels=1024, stem=1, upsample="transpose")


@dataclass
class Contender:
    """A network in the race."""

    name: str
    session: onnxruntime.InferenceSession
    inputs: dict[str, np.ndarray]
    config: Config
    megabytes: float
    milliseconds: list[float]


def contender(name: str, path: Path, config: Config) -> Contender:
    """Load one file on one thread, with a film-like input of its shape."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    node = session.get_inputs()[0]
    film = np.random.default_rng(1).standard_normal(node.shape, np.float32)
    return Contender(name, session, {node.name: film}, config, path.stat().st_size / 1e6, [])


def gigaflops(config: Config, size: int) -> float:
    """Floating-point operations of one film, multiply and add counted apart."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        build(config).eval()(torch.zeros(1, config.in_channels, size, size))
    return counter.get_total_flops() / 1e9


def main() -> None:
    """Race and print."""
    torch.set_num_threads(1)
    card = network.Network(network.WEIGHTS, 1).card
    ours = Config(**card.training["config"])
    with tempfile.TemporaryDirectory() as folder:
        author = Path(folder) / "author.onnx"
        spec = InputSpec(size=card.input.size, channels=AUTHOR.in_channels)
        onnx.save(to_onnx(build(AUTHOR).eval(), spec), author)
        race = [
            contender("author's U-Net, FP32", author, AUTHOR),
            contender("served network, FP32", network.WEIGHTS, ours),
            contender("served network, INT8", network.int8_path(network.WEIGHTS), ours),
        ]
    for _ in range(ROUNDS):
        for entry in race:
            started = time.perf_counter()
            entry.session.run(None, entry.inputs)
            entry.milliseconds.append(1000 * (time.perf_counter() - started))

    slowest = statistics.median(race[0].milliseconds)
    print(f"{'':24}{'weights':>10}{'file':>10}{'GFLOP':>9}{'ms':>10}{'author / this':>15}")
    for entry in race:
        weights = sum(parameter.numel() for parameter in build(entry.config).parameters())
        median = statistics.median(entry.milliseconds)
        print(
            f"{entry.name:24}{weights / 1e6:>8.2f} M{entry.megabytes:>7.1f} MB"
            f"{gigaflops(entry.config, card.input.size):>9.1f}{median:>10.1f}{slowest / median:>15.1f}"
        )
    exact, quantised = (statistics.median(entry.milliseconds) for entry in race[1:])
    print(f"INT8 takes {quantised / exact:.2f} of its own FP32 time; one core, {ROUNDS} rounds, medians")


if __name__ == "__main__":
    main()
