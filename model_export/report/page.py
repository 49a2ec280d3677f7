"""`report`: everything about a trained model on one self-contained page, and its cards.

Writes report.html with its plots inside (they show images: do not publish it), the tables of robustness and comparison
beside it and, if a folder for cards is given, MODEL_CARD.md and DATA_CARD.md, which contain figures only.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lungseg.model.card import Card
from lungseg.model.lung import LungModel, LungNetwork
from model_export.config import Config, read_config
from model_export.data.index import Index, IndexRow, digest_rows, find_mask_origins
from model_export.evaluate import means_table
from model_export.network import checkpoint
from model_export.network.unet import build_network
from model_export.report import figures
from model_export.report.compare import compare_models
from model_export.report.curve import draw_curve
from model_export.report.robustness import measure_robustness, robustness_table
from model_export.report.tail import score_tail, sets_table
from model_export.scores.scoring import ImageScore, group_by_finding, group_by_set, score_images
from model_export.sweeps.runs import read_log

TEMPLATES = Path(__file__).parent / "templates"

CARD_NAMES = ("MODEL_CARD.md", "DATA_CARD.md")

EXAMPLES_PER_RANK = 4
"""Images shown of each set as best, as median and as worst."""

NAMED_PER_SET = 5
"""Worst images of each set named in the model card."""


def write_model_report(
    index: Index,
    rows: list[IndexRow],
    network: LungNetwork,
    run: Path,
    others: dict[str, LungModel],
    output: Path,
    cards: Path | None,
) -> None:
    """Score ``network`` on ``rows``, write the page to ``output`` and the cards to ``cards``.

    Args:
        run: folder of its training run, for the curves and the cost.
        others: other models to score on the same images, by label.

    Raises:
        FileNotFoundError: ``run`` is not a run, or an image is missing.
        ValueError: there is no image to score, or one is damaged; ``run`` is of another model; or that was trained on
            other images than those of ``index``.
    """
    made = checkpoint.TorchModel(run / "best.pt").card
    if Card.from_json(made.to_json()).training != network.card.training:
        raise ValueError(f"{run} is not the run of this model; name its run with --run")
    config = read_config(network.card.training["config"])
    if (
        digest_rows(index.select("train", tuple(config.leave_out), tuple(config.sources)))
        != made.training["data_sha256"]
    ):
        raise ValueError(
            f"the model was trained on other images than those of {index.folder}; name its folder with --data"
        )
    drawn = draw_curve(run)
    output.mkdir(parents=True, exist_ok=True)
    scored = score_images(index, rows, network)
    tailed = score_tail(index, [(row, network) for row in index.select("validation")], output)
    robust = measure_robustness(index, rows, network, output)
    compared = compare_models(index, rows, others, output, {f"this model, {network.card.precision}": scored})
    facts = _training(run, config) | {
        "index": index,
        "network": network,
        "card": network.card,
        "masks_of": find_mask_origins(network.card.training),
        "split": rows[0].split,
        "counts": _counts(index),
        "means": means_table(group_by_set(scored)),
        "tail": sets_table(tailed),
        "expected_dice": _expected_table(network.card.metrics.get("expected_dice", {})),
        "findings": means_table(group_by_finding(scored)),
        "robustness": robustness_table(robust),
        "compared": compared,
        "worst": {source: images[:NAMED_PER_SET] for source, images in _ranked(scored).items()},
    }
    pictures = {
        "curve": figures.embed_picture(drawn),
        "distributions": figures.draw_distributions(scored),
        "calibration": figures.draw_calibration(scored),
        "changed": figures.embed_picture(output / "robustness.png"),
        "images": {
            source: {rank: figures.draw_examples(index, network, chosen) for rank, chosen in _shown(images).items()}
            for source, images in _ranked(scored).items()
        },
    }
    page = output / "report.html"
    page.write_text(_render(page.name, facts | pictures), encoding="utf-8")
    print(f"report: {page}")
    if cards is not None:
        cards.mkdir(parents=True, exist_ok=True)
        for name in CARD_NAMES:
            (cards / name).write_text(_render(name, facts), encoding="utf-8")
            print(f"card: {cards / name}")


def _training(run: Path, config: Config) -> dict[str, Any]:
    """Return what the run cost, and its network's size."""
    log = read_log(run)
    return {
        "epochs": len(log),
        "hours": sum(epoch.seconds for epoch in log) / 3600,
        "weights": sum(parameter.numel() for parameter in build_network(config).parameters()),
        "config": config,
    }


def _expected_table(judged: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return a header and the errors of the expected Dice on each set; empty if the card has none."""
    names = list(dict.fromkeys(name for figures_of in judged.values() for name in figures_of))
    header = [["images", *(name.replace("_", " ") for name in names)]]
    return (
        header + [[label, *(str(found.get(name, "")) for name in names)] for label, found in judged.items()]
        if names
        else []
    )


def _counts(index: Index) -> list[list[str]]:
    """Return a header and the number of images of each set, split, finding and mask quality."""
    counted = Counter((row.source, row.split, row.finding, row.quality) for row in index.rows)
    lines = [["set", "split", "finding", "mask", "images"]]
    for (source, split, finding, quality), count in sorted(counted.items()):
        lines.append([source, split, {"0": "normal", "1": "tuberculosis"}.get(finding, finding), quality, str(count)])
    return lines


def _ranked(scored: list[ImageScore]) -> dict[str, list[ImageScore]]:
    """Group images by set, worst first."""
    sources = sorted({image.row.source for image in scored})
    ranked = sorted(scored, key=lambda image: image.scores["dice"])
    return {source: [image for image in ranked if image.row.source == source] for source in sources}


def _shown(images: list[ImageScore]) -> dict[str, list[ImageScore]]:
    middle = max(0, (len(images) - EXAMPLES_PER_RANK) // 2)
    return {
        "worst": images[:EXAMPLES_PER_RANK],
        "median": images[middle : middle + EXAMPLES_PER_RANK],
        "best": images[::-1][:EXAMPLES_PER_RANK],
    }


def _render(template: str, facts: dict[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=template.endswith(".html"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(facts)
