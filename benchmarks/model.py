"""The served network against the author's 31.0 M U-Net and its own FP32 form: one run, one core, the same film.

    make bench-model

Every network runs in onnxruntime on one thread, interleaved, so that a slow moment of the machine hits all of them;
the medians and their ratios are printed. Speed does not depend on weights, so the author's are random.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import torch

from app import network
from app.preprocess import InputSpec
from model_export.config import AUTHOR, Config
from model_export.export import to_onnx
from model_export.timing import ROUNDS, gigaflops, millions, race
from model_export.unet import build


def main() -> None:
    """Race and print."""
    torch.set_num_threads(1)
    card = network.Network(network.WEIGHTS, 1).card
    ours = Config(**card.training["config"])
    with tempfile.TemporaryDirectory() as folder:
        author = Path(folder) / "author.onnx"
        spec = InputSpec(size=card.input.size, channels=AUTHOR.in_channels)
        onnx.save(to_onnx(build(AUTHOR).eval(), spec), author)
        entries = [
            ("author's U-Net, FP32", author, AUTHOR),
            ("served network, FP32", network.WEIGHTS, ours),
            ("served network, INT8", network.int8_path(network.WEIGHTS), ours),
        ]
        times = race([path for _, path, _ in entries])
        sizes = [path.stat().st_size / 1e6 for _, path, _ in entries]

    print(f"{'':24}{'weights':>10}{'file':>10}{'GFLOP':>9}{'ms':>10}{'author / this':>15}")
    for (name, _, config), megabytes, milliseconds in zip(entries, sizes, times, strict=True):
        print(
            f"{name:24}{millions(config):>8.2f} M{megabytes:>7.1f} MB"
            f"{gigaflops(config, card.input.size):>9.1f}{milliseconds:>10.1f}{times[0] / milliseconds:>15.1f}"
        )
    print(f"INT8 takes {times[2] / times[1]:.2f} of its own FP32 time; one core, {ROUNDS} rounds, medians")


if __name__ == "__main__":
    main()
