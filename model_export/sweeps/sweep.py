"""Train named variants of the settings, each once in a folder of its own, for `tune` and `search`.

A sweep's folder contains sweep.json (its settings), prepared/<size>/ (the images at other sizes) and for each variant
<name>/, a run folder of `train` with a result.json once the variant is finished.
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
"""The variant that differs from the first only by its random seed: their difference is noise."""


@dataclass(frozen=True)
class Variant:
    """One setting of a sweep.

    Attributes:
        name: name of its run folder.
        changes: differences from the sweep's first variant, in words.
        config: all settings of its run.
        size: side of its input, in pixels.
        group: the group in which it is plotted.
    """

    name: str
    changes: str
    config: Config
    size: int
    group: str

    @property
    def divisor(self) -> int:
        """The divisor of valid input sizes."""
        return self.config.stem * 2**self.config.depth


def select_variants(variants: list[Variant], only: Iterable[str]) -> list[Variant]:
    """Return the variants named in ``only``, in their own order; all if it is empty.

    Raises:
        ValueError: a name is unknown.
    """
    wanted, known = set(only), {variant.name for variant in variants}
    if not wanted <= known:
        raise ValueError(
            f"there is no setting {', '.join(sorted(wanted - known))}; the settings are {', '.join(sorted(known))}"
        )
    return [variant for variant in variants if not wanted or variant.name in wanted]


def begin_sweep(output: Path, facts: dict[str, Any], variants: list[Variant]) -> None:
    """Start a sweep in ``output``, or continue the one there.

    Args:
        facts: what all runs depend on, as JSON; "workers" is left out, because it changes no result.
        variants: all variants of the sweep.

    Raises:
        ValueError: the sweep there, or a run of it, was started with other settings; its runs cannot be compared with
            new ones.
    """
    facts = {name: value for name, value in facts.items() if name != "workers"}
    path = output / "sweep.json"
    if path.is_file():
        other = _differences(read_sweep_facts(output), facts)
        if other:
            raise ValueError(f"{output} was started with {other}; pass the same, or name another --output")
        check_runs(output, variants)
        return
    output.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(facts, indent=2) + "\n").encode())


def check_runs(output: Path, variants: list[Variant]) -> None:
    """Check that existing runs match the variants of their names, which may change with the program.

    Raises:
        ValueError: a run below ``output`` was started with other settings than the variant of its name.
    """
    for variant in variants:
        run = output / variant.name
        if not (run / "config.json").is_file():
            continue
        now = _settings(variant.config) | {"size": variant.size}
        before = _begun(run)
        other = _differences(before | {"workers": now["workers"]}, now)
        if other:
            raise ValueError(f"{run} was started with other settings ({other}); remove it or name another --output")


def _begun(run: Path) -> dict[str, Any]:
    """Return the settings in a run's config.json and its size; settings newer than the run have their defaults."""
    facts = json.loads((run / "config.json").read_text())
    return _settings(Config()) | facts["config"] | {"size": facts["spec"]["size"]}


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings as JSON returns them: tuples are lists."""
    return dict(json.loads(json.dumps(asdict(config))))


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Describe what differs between ``before`` and ``now``; empty if nothing does."""
    names = [name for name in now | before if before.get(name) != now.get(name)]
    return "; ".join(f"{name} {before.get(name)}, not {now.get(name)}" for name in names)


def read_sweep_facts(output: Path) -> dict[str, Any]:
    """Return the settings of the sweep in ``output``, without the "workers" that older ones recorded.

    Raises:
        FileNotFoundError: there is no sweep.
    """
    path = output / "sweep.json"
    if not path.is_file():
        raise FileNotFoundError(f"{output} has no sweep.json: nothing has been trained there")
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "workers"}


def run_variants(variants: list[Variant], work: Callable[[Variant], None], name: str) -> dict[str, str]:
    """Call ``work`` for each variant, with a progress bar; continue after a variant that fails.

    Returns:
        The reason for each failed variant.
    """
    failed: dict[str, str] = {}
    bar = tqdm(variants, desc=name, unit="setting")
    for variant in bar:
        bar.set_postfix_str(variant.name)
        try:
            work(variant)
        # PyTorch raises RuntimeError if a network does not fit into GPU memory.
        except (ValueError, RuntimeError) as error:
            failed[variant.name] = str(error).partition("\n")[0]
            tqdm.write(f"{variant.name} failed: {failed[variant.name]}")
    return failed


def raise_failures(failed: dict[str, str]) -> None:
    """Raise one ValueError for all failed variants, if there are any."""
    if failed:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise ValueError(f"{len(failed)} failed; run the command again to retry ({reasons})")


def train_variant(index: Index, variant: Variant, output: Path) -> Path:
    """Train a variant in its folder below ``output``, or resume it; return its run folder.

    ``index`` may have any size. Raises the errors of `train` and `prepare_at_size`.
    """
    run = output / variant.name
    images = prepare_at_size(index, variant.size, output / "prepared" / str(variant.size))
    resume = (run / "last.pt").is_file()
    # `train` demands that a run resumes with its number of workers.
    config = replace(variant.config, workers=_begun(run)["workers"]) if resume else variant.config
    train(images, run, config, resume)
    return run


def prepare_at_size(index: Index, size: int, folder: Path, workers: int = 2) -> Index:
    """Return ``index`` if it has that size; else prepare its images again in ``folder``, once, from their files.

    Each image keeps its split and quality.

    Raises:
        FileNotFoundError: an image is missing from the input folder.
        ValueError: an image is damaged, or ``index`` has predicted masks, which exist at one size only.
    """
    if index.size == size:
        return index
    if index.labelled:
        raise ValueError(
            f"{index.folder} has predicted masks at {index.size} pixels and none at {size}; prepare and label at {size}"
        )
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
        rows = list(tqdm(made_rows, total=len(index.rows), desc=f"prepare at {size} pixels", unit="image", leave=False))
    write_index(folder, rows, [], index.input, size, {"as": str(index.folder)})
    return read_index(folder)


def _kept(row: IndexRow) -> tuple[str, str, str]:
    return row.id, row.split, row.quality
