"""What `tune` and `search` share: named variants of the settings, each trained once in a folder of its own.

A sweep's folder holds sweep.json (what the sweep was begun with), prepared/<size>/ (the images at another size than
they were prepared at) and for each variant <name>/, a run folder as `train` leaves it, with a result.json once nothing
is left to do for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lungseg.errors import ProblemError
from lungseg.files import write_atomically
from model_export.config import Config
from model_export.data.index import Index, IndexRow, read_index, write_index
from model_export.data.layout import ImagePair
from model_export.prepare import prepare_pair
from model_export.train import train

SECOND_SEED = "seed-2"
"""The variant that differs from the first in nothing but its random seed: how far it differs is noise."""


@dataclass(frozen=True)
class Variant:
    """One setting of a sweep.

    Attributes:
        name: its run folder's name.
        changes: what differs from the sweep's first variant, in words.
        config: all settings of its run.
        size: side of its input, in pixels.
        group: the variants that it is drawn with.
    """

    name: str
    changes: str
    config: Config
    size: int
    group: str

    @property
    def divisor(self) -> int:
        """What the side of its input must be divisible by."""
        return self.config.stem * 2**self.config.depth


def select_variants(variants: list[Variant], only: Iterable[str]) -> list[Variant]:
    """The variants named in ``only``, in their own order; all if it is empty.

    Raises:
        ValueError: there is no variant of such a name.
    """
    wanted, known = set(only), {variant.name for variant in variants}
    if not wanted <= known:
        raise ValueError(f"no setting {', '.join(sorted(wanted - known))}; there are {', '.join(sorted(known))}")
    return [variant for variant in variants if not wanted or variant.name in wanted]


def begin_sweep(output: Path, facts: dict[str, Any], variants: list[Variant]) -> None:
    """Begin a sweep in ``output``, or go on with the one there.

    Args:
        facts: what all its runs depend on, as JSON can hold it; "workers" is left out, which changes no result.
        variants: all of the sweep's.

    Raises:
        ValueError: the sweep there, or a run of it, was begun otherwise; its runs cannot be compared with new ones.
    """
    facts = {name: value for name, value in facts.items() if name != "workers"}
    path = output / "sweep.json"
    if path.is_file():
        other = _differences(read_sweep_facts(output), facts)
        if other:
            raise ValueError(f"{output} was begun with {other}; pass the same, or name another --output")
        check_runs(output, variants)
        return
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(facts, indent=2) + "\n").encode())


def check_runs(output: Path, variants: list[Variant]) -> None:
    """Refuse runs that are not what their names say: the variants of a name change as the program does.

    Raises:
        ValueError: a run below ``output`` was begun with other settings than the variant of its name has.
    """
    for variant in variants:
        run = output / variant.name
        if not (run / "config.json").is_file():
            continue
        now = _settings(variant.config) | {"size": variant.size}
        before = _begun(run)
        other = _differences(before | {"workers": now["workers"]}, now)
        if other:
            raise ValueError(f"{run} was begun with other settings ({other}); remove it or name another --output")


def _begun(run: Path) -> dict[str, Any]:
    """The settings of a run's config.json, with its size; one that came after it began had its default's effect."""
    facts = json.loads((run / "config.json").read_text())
    return _settings(Config()) | facts["config"] | {"size": facts["spec"]["size"]}


def _settings(config: Config) -> dict[str, Any]:
    """The settings as JSON gives them back: a tuple is a list."""
    return dict(json.loads(json.dumps(asdict(config))))


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What of ``before`` is not so now, in words; empty if nothing."""
    names = [name for name in now | before if before.get(name) != now.get(name)]
    return "; ".join(f"{name} {before.get(name)}, not {now.get(name)}" for name in names)


def read_sweep_facts(output: Path) -> dict[str, Any]:
    """What the sweep in ``output`` was begun with, without the "workers" that older ones noted.

    Raises:
        FileNotFoundError: there is none.
    """
    path = output / "sweep.json"
    if not path.is_file():
        raise FileNotFoundError(f"{output} holds no sweep.json: nothing has been trained there")
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "workers"}


def run_variants(variants: list[Variant], work: Callable[[Variant], None], name: str) -> dict[str, str]:
    """Do ``work`` for each variant, with a progress bar; one that cannot be trained does not stop the others.

    Returns:
        For each variant that failed, why.
    """
    failed: dict[str, str] = {}
    bar = tqdm(variants, desc=name, unit="setting")
    for variant in bar:
        bar.set_postfix_str(variant.name)
        try:
            work(variant)
        # PyTorch says with a RuntimeError that a network does not fit into a GPU's memory.
        except (ValueError, RuntimeError) as error:
            failed[variant.name] = str(error).partition("\n")[0]
            tqdm.write(f"{variant.name} failed: {failed[variant.name]}")
    return failed


def raise_failures(failed: dict[str, str]) -> None:
    """Raise one ValueError for all variants of ``failed``, if there are any."""
    if failed:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise ValueError(f"{len(failed)} failed, and the next call tries again ({reasons})")


def train_variant(index: Index, variant: Variant, output: Path) -> Path:
    """Train a variant in its folder below ``output``, or go on where it was stopped; its run folder.

    ``index`` may have been prepared at any size. Raises as `train` and `at_size` do.
    """
    run = output / variant.name
    films = prepare_at_size(index, variant.size, output / "prepared" / str(variant.size))
    resume = (run / "last.pt").is_file()
    # A run goes on with as many workers as it began with, which `train` demands.
    config = replace(variant.config, workers=_begun(run)["workers"]) if resume else variant.config
    train(films, run, config, resume)
    return run


def prepare_at_size(index: Index, size: int, folder: Path, workers: int = 2) -> Index:
    """``index`` itself if it has that size; else its images prepared again in ``folder``, once, from their own files.

    Each image keeps its split and its mask's quality.

    Raises:
        FileNotFoundError: an image is no longer below the input folder.
        ValueError: an image is damaged by now, or a model drew the masks of ``index``, which has them at one size only.
    """
    if index.size == size:
        return index
    if index.labelled:
        raise ValueError(f"{index.folder} has masks drawn by a model at {index.size} pixels, and none at {size}")
    if (folder / "prepare.json").is_file():
        made = read_index(folder)
        if [_kept(row) for row in made.rows] == [_kept(row) for row in index.rows]:
            return made
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def one(row: IndexRow) -> IndexRow:
        masks = tuple(index.input / name for name in row.masks.split(";") if name)
        image = index.input / row.image
        pair = ImagePair(row.id, row.source, row.finding, image, masks, row.patient, row.kind, row.licence)
        try:
            return prepare_pair(pair, index.input, folder, size, row.split, row.quality)
        except ProblemError as error:
            raise ValueError(f"{row.image}: {error.detail}") from None

    with ThreadPoolExecutor(workers) as pool:
        made_rows = pool.map(one, index.rows)
        rows = list(tqdm(made_rows, total=len(index.rows), desc=f"prepare at {size} pixels", unit="film", leave=False))
    write_index(folder, rows, [], index.input, size, {"as": str(index.folder)})
    return read_index(folder)


def _kept(row: IndexRow) -> tuple[str, str, str]:
    return row.id, row.split, row.quality
