"""What can be said of this program and its models, without an image."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lungseg import __version__, limits
from lungseg.decode.selftest import PICTURE_FORMATS
from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES
from lungseg.encode.formats import FORMATS
from lungseg.model import processor
from lungseg.model.models import load_models
from lungseg.model.session import thread_count


def about() -> dict[str, Any]:
    """Version, models with their cards, formats read and written, limits, processor and threads.

    Raises:
        ModelError: a model cannot be loaded.
    """
    models = load_models()
    model, view = models.lung, models.view
    return {
        "version": __version__,
        "model": asdict(model.card) | {"sha256": model.sha256, "precision_reason": model.precision_reason},
        "view_model": view.card | {"sha256": view.sha256},
        "reads": {
            "pictures": list(PICTURE_FORMATS),
            "dicom_transfer_syntaxes": {str(syntax): syntax.name for syntax in TRANSFER_SYNTAXES},
        },
        "writes": {output_format.name: output_format.meaning for output_format in FORMATS.values()},
        "limits": {
            "bytes": limits.MAX_BYTES,
            "pixels": limits.MAX_PIXELS,
            "longest_side": limits.MAX_SIDE,
            "shortest_side": limits.MIN_SIDE,
        },
        "processor": processor.describe_processor(),
        "threads": thread_count(),
    }


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for a person."""
    model, view, limit = facts["model"], facts["view_model"], facts["limits"]
    training = model["training"]
    told = [f"{training['films']} images"] if "films" in training else []
    told += [" and ".join(training["sources"])] if training.get("sources") else []
    dice = model["metrics"].get("validation_dice", {})
    scores = ", ".join(f"{source} {value:.4f}" for source, value in dice.items())
    names = list(facts["reads"]["dicom_transfer_syntaxes"].values())
    return [
        f"version: {facts['version']}",
        f"model: {model['name']}, {model['precision']}, sha256 {model['sha256']}",
        f"precision: {model['precision']}, because {model['precision_reason'].text}",
        f"trained on: {', '.join(told) or 'the card does not say'}",
        *([f"Dice of its validation images: {scores}"] if scores else []),
        f"view model: {view['name']}, sha256 {view['sha256']}",
        f"processor: {facts['processor']}",
        f"threads for an image: {facts['threads']}",
        f"reads: {', '.join(facts['reads']['pictures'])}, and DICOM:",
        *(f"  {name}" for name in names),
        "writes:",
        *(f"  {name:<12} {meaning}" for name, meaning in facts["writes"].items()),
        f"limits: {limit['bytes']:,} bytes, {limit['pixels']:,} pixels, sides of {limit['shortest_side']} to "
        f"{limit['longest_side']:,}",
    ]
