"""Fuzzing that follows coverage: libFuzzer, by way of atheris, keeps a spoilt image that reaches new code and goes on
from there.

`python fuzz_guided.py SEED RUNS FOLDER` goes on from the images in the folder's "films", to which it adds those that
reach new code. It writes libFuzzer's report to standard error; it ends with 0 if no image broke a promise, else the image
lies in the folder.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from random import Random

import atheris
from ledger import WHOLE

FOLLOWED = ["lungseg", "tifffile", "pydicom", "PIL"] if WHOLE else ["lungseg"]
"""Packages whose branches count; to prepare all of them takes ten seconds."""

ROOT = Path(__file__).parents[2]

BESIDES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "lungseg").rglob("*.py")
    if "decode" not in path.parts or path.stem == "display"
]
"""Modules of them that decode nothing, or arrays only: atheris never frees an array that they have compared."""

FIRST = 1 if WHOLE else 6
"""Every so many-th seed is an image to begin with; each is segmented once before any is spoilt."""

with atheris.instrument_imports(include=FOLLOWED, exclude=BESIDES):
    for late in ("lungseg.decode.dicom", "lungseg.decode.tiff"):  # which the service imports as soon as it needs them
        import_module(late)
    from fuzz_worker import PEAK, SECONDS, outcome
    from mutate import LONGEST, mutate
    from seeds import seeds


def try_one(film: bytes) -> None:
    outcome(film)


def spoilt(film: bytes, longest: int, seed: int) -> bytes:
    """An image that minds the format half of the time; libFuzzer's own changes know what code compared it with."""
    random = Random(seed)
    if random.random() < 0.5:
        return atheris.Mutate(film, longest)
    return mutate(film, random, list(seeds().values()))[:longest]


def main(seed: int, runs: int, folder: Path) -> None:
    films = folder / "films"
    if not films.exists():
        films.mkdir()
        for name, film in list(seeds().items())[::FIRST]:
            (films / name).write_bytes(film)
    options = {
        "runs": runs,
        "seed": seed,
        "max_len": LONGEST,
        "timeout": SECONDS,
        "rss_limit_mb": PEAK >> 20,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(films)], try_one, custom_mutator=spoilt)
    atheris.Fuzz()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
