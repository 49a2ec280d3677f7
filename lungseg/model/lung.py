"""The network that segments the lungs, and the choice of its precision: INT8 or FP32."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lungseg import settings
from lungseg.errors import BlankImage, ModelError
from lungseg.model import precision, processor, selfcheck
from lungseg.model.card import CARD_ERRORS, METADATA_KEY, Card
from lungseg.model.precision import PrecisionReason
from lungseg.model.preprocess import preprocess
from lungseg.model.session import WEIGHTS_FOLDER, check_single_node, open_session, thread_count

log = logging.getLogger(__name__)

LUNG_WEIGHTS = WEIGHTS_FOLDER / "lung_unet.onnx"
"""The FP32 file; the INT8 file is beside it (`int8_path`)."""

FETCHERS: dict[str, Callable[[str, str], Path]] = {}
"""How to fetch a model from a URI, by scheme. Each function takes the URI and the SHA-256 that the file must have. The
service on AWS adds "s3"."""


class LungModel(Protocol):
    """What segmentation needs of a lung model: a `LungNetwork`, or a checkpoint that is being evaluated."""

    card: Card
    sha256: str
    precision_reason: PrecisionReason

    def __call__(self, radiograph: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class ModelIdentity:
    """What every result says of the model that made it.

    Attributes:
        name: the card's.
        precision: "fp32" or "int8".
        precision_reason: code of the reason why it serves in this precision (`precision.PrecisionReason`).
        sha256: digest of its file; it differs between the two precisions.
    """

    name: str
    precision: str
    precision_reason: str
    sha256: str

    @classmethod
    def of(cls, model: LungModel) -> ModelIdentity:
        """Return the identity of a loaded model."""
        return cls(model.card.name, model.card.precision, str(model.precision_reason), model.sha256)


class LungNetwork:
    """A loaded lung network. One object serves every image, from several threads at once.

    Attributes:
        card: the facts in its file.
        sha256: digest of the ONNX file.
        precision_reason: why it serves in the precision of its card.
    """

    def __init__(
        self,
        path: Path,
        threads: int,
        precision_reason: PrecisionReason = PrecisionReason.NAMED,
        float_sums: bool = False,
    ) -> None:
        """Load ``path`` and run on ``threads`` CPU threads.

        Args:
            path: the ONNX file.
            threads: for one run.
            precision_reason: why this file was chosen.
            float_sums: as for `open_session`.

        Raises:
            ModelError: the file is missing, damaged, not ONNX, or lacks the facts that serving needs.
        """
        self.precision_reason = precision_reason
        self._session, self.sha256 = open_session(path, threads, float_sums)
        try:
            self.card = Card.from_json(self._session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        except CARD_ERRORS:
            raise ModelError(
                "The model carries no card of this service; write it with `python -m model_export export`."
            ) from None
        spec = self.card.input
        self._input = check_single_node(self._session.get_inputs(), [1, spec.channels, spec.size, spec.size])
        check_single_node(self._session.get_outputs(), [1, len(self.card.outputs), spec.size, spec.size])

    def __call__(self, radiograph: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each of the card's outputs, (outputs, size, size) float32 in [0, 1].

        Args:
            radiograph: (1, channels, size, size) float32, standardised.
        """
        (probability,) = self._session.run(None, {self._input: radiograph})
        return np.asarray(probability)[0]

    def passes_self_check(self) -> bool:
        """Return whether this CPU gives the answer that the file promises; an FP32 file need not promise one."""
        if self.card.self_check is None:
            return self.card.precision == "fp32"
        try:
            inputs, _ = preprocess(selfcheck.draw_phantom(), self.card.input)
        except BlankImage:  # the card's percentiles are so close that both give the same grey
            return False
        return selfcheck.matches_answer(self(inputs)[0], self.card.self_check)


def int8_path(weights: Path) -> Path:
    """Return the path of a model's INT8 file: lung_unet.onnx has lung_unet.int8.onnx."""
    return weights.with_suffix(".int8.onnx")


@functools.cache
def load_lung() -> LungNetwork:
    """Return the lung network of this process, the one that ``LUNG_MODEL`` names, loaded once.

    Raises:
        ModelError.
    """
    return open_lung(settings.MODEL.read(LUNG_WEIGHTS.stem), thread_count())


def open_lung(named: str, threads: int) -> LungNetwork:
    """Load a lung network. ``LUNG_PRECISION`` is int8, fp32, or auto (`choose_precision`).

    Args:
        named: the name of a model in the weights folder (`model_names`), the path of a file, or a URI with a scheme of
            FETCHERS, and then ``LUNG_MODEL_SHA256`` is its digest.
        threads: for one run.

    Raises:
        ModelError.
    """
    wanted = settings.PRECISION.read("auto")
    scheme, separator, _ = named.partition("://")
    if separator and scheme not in FETCHERS:
        raise ModelError("The model must be a path or a name here; only the service on AWS fetches models.")
    if separator:
        return choose_precision(FETCHERS[scheme](named, settings.MODEL_SHA256.read("")), wanted, threads)
    weights = find_weights(named)
    if not weights.is_file():
        raise ModelError(unknown_model(named))
    return choose_precision(weights, wanted, threads)


def find_weights(named: str) -> Path:
    """Return the file of a model: in the weights folder for a name, else at the path itself."""
    return WEIGHTS_FOLDER / f"{named}.onnx" if named.isidentifier() else Path(named)


def model_names() -> tuple[str, ...]:
    """Return the names of the lung networks in the weights folder; the default model is first."""
    names = (path.stem for path in WEIGHTS_FOLDER.glob("lung_*.onnx") if path.stem.isidentifier())
    return tuple(sorted(names, key=lambda name: (name != LUNG_WEIGHTS.stem, name)))


def unknown_model(named: str) -> str:
    """Return what is wrong with a name or path that leads to no file, and what to use."""
    problem = f"There is no model named {named}." if named.isidentifier() else "The model's path leads to no file."
    return f"{problem} Use {', '.join(model_names())}, or the path of an ONNX file."


def choose_precision(weights: Path, wanted: str, threads: int) -> LungNetwork:
    """Load ``weights`` or the INT8 file beside it.

    Args:
        weights: an FP32 file, or an INT8 file that has no FP32 file beside it.
        wanted: "auto" takes INT8 where this processor has 8-bit dot products and the file passes its self-check, else
            FP32; "int8" and "fp32" take nothing else.
        threads: for one run.

    Raises:
        ModelError: a file cannot be loaded, the wanted precision is not there, or this processor cannot serve it.
    """
    quantised, products = int8_path(weights), processor.dot_products()
    reason = PrecisionReason.SETTING
    if wanted != "fp32" and quantised.is_file():
        reason = PrecisionReason.NO_DOT_PRODUCTS
        if products != ():
            passed = PrecisionReason.DOT_PRODUCTS if products else PrecisionReason.SELF_CHECK_PASSED
            model = LungNetwork(quantised, threads, PrecisionReason.SETTING if wanted == "int8" else passed)
            if model.passes_self_check():
                return model
            reason = PrecisionReason.SELF_CHECK_FAILED
            if products and wanted == "auto":
                log.warning("the INT8 model failed its self-check on this processor; serving the FP32 model")
        if wanted == "int8":
            raise ModelError(f"LUNG_PRECISION is int8, but {reason.text}. Unset it to serve the FP32 model.")
    elif wanted == "auto":
        reason = PrecisionReason.NO_INT8_FILE
    model = LungNetwork(weights, threads, reason)
    if model.card.precision == "int8":
        _check_int8_alone(model, products)
    if wanted not in ("auto", model.card.precision):
        raise ModelError(
            f"LUNG_PRECISION is {wanted}, but LUNG_MODEL names a model whose only file is {model.card.precision}. "
            "Unset LUNG_PRECISION, or name another model."
        )
    return model


def _check_int8_alone(model: LungNetwork, products: tuple[str, ...] | None) -> None:
    """Raise ModelError unless this processor can serve an INT8 model that LUNG_MODEL names itself."""
    model.precision_reason = PrecisionReason.NAMED
    if products == ():
        raise ModelError(f"LUNG_MODEL names an INT8 model, but {precision.NO_DOT_PRODUCTS}. Name its FP32 file.")
    if not model.passes_self_check():
        raise ModelError("The INT8 model that LUNG_MODEL names failed its self-check here. Name its FP32 file.")
