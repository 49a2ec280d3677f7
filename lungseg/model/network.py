"""The U-Net as an onnxruntime session, and the facts that travel inside its ONNX file."""

from __future__ import annotations

import functools
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from lungseg import settings
from lungseg.errors import BlankImage, ModelError
from lungseg.model import checksum, precision, processor, selfcheck
from lungseg.model.precision import PrecisionReason
from lungseg.model.preprocess import InputSpec, preprocess
from lungseg.pipeline.expected_dice import Calibration

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).parent / "weights" / "lung_unet.onnx"
"""The exact network; its INT8 form lies beside it (`int8_path`)."""

OUTPUTS = ("lung", "field")
"""What a network predicts: lung, and in newer ones the field: both lungs and the heart's shadow between them."""

MASK_CONVENTION = "above threshold is lung; left and right lung in one mask"

METADATA_KEY = "lung_segmentation"
"""The metadata entry of the ONNX file that is a Card as JSON; the other one is the file's seal."""

NO_CARD = (KeyError, TypeError, ValueError, RecursionError)
"""What reading a card raises of one that is none."""

FETCHERS: dict[str, Callable[[str, str], Path]] = {}
"""How to fetch a model that is no file of this machine, by the scheme of its address; each takes the address and the
SHA-256 that the file must have. The service on AWS adds "s3"."""

LAMBDA_MB_PER_VCPU = 1769
"""AWS Lambda gives one vCPU for each 1,769 MB of memory (Lambda developer guide, "Configure function memory")."""


@dataclass(frozen=True)
class Card:
    """What a model says of itself. It is written by the export and read by serving, and stands nowhere else.

    Attributes:
        name: the model's name.
        input: size and normalisation of the network's input.
        threshold: probability above which a pixel is lung.
        mask_convention: what True means.
        training: the images, their sets and digest, who drew their masks, and the settings that made the weights.
        metrics: scores of the checkpoint on the validation images.
        precision: "fp32" or "int8".
        quantised_from: digest of the FP32 file that an INT8 model was made from.
        self_check: an INT8 model's expected answer (selfcheck.answer).
        outputs: what each channel of its output is, "lung" first; files from before there were others lack it.
        expected_dice: the coefficients of `expected_dice.Calibration`; None gives no estimate.
    """

    name: str
    input: InputSpec
    threshold: float
    mask_convention: str
    training: dict[str, Any]
    metrics: dict[str, Any]
    precision: str = "fp32"
    quantised_from: str | None = None
    self_check: list[float] | None = None
    outputs: tuple[str, ...] = OUTPUTS[:1]
    expected_dice: dict[str, Any] | None = None

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """What makes an estimate of a mask's Dice, if the model has learned one."""
        return None if self.expected_dice is None else Calibration.read(self.expected_dice)

    def to_json(self) -> str:
        """The card as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read a card.

        Raises:
            NO_CARD: it is not one of a model that this service can serve.
        """
        facts = json.loads(text)
        card = cls(**(facts | {"input": read_input(facts["input"])}))
        outputs = tuple(card.outputs)
        answer = card.self_check
        good = (
            set(facts) | {"outputs", "expected_dice"} == {field.name for field in fields(cls)},
            outputs in (OUTPUTS[:1], OUTPUTS),
            isinstance(card.name, str) and card.name,
            0 < card.threshold < 1,
            card.mask_convention == MASK_CONVENTION,
            isinstance(card.training, dict) and isinstance(card.metrics, dict),
            card.precision in ("fp32", "int8"),
            card.quantised_from is None or isinstance(card.quantised_from, str),
            card.expected_dice is None or card.calibration is not None,
            answer is None or (len(answer) == selfcheck.BLOCKS**2 and all(0 <= mean <= 1 for mean in answer)),
        )
        if not all(good):
            raise ValueError("a fact is missing or wrong")
        return replace(card, outputs=outputs)


def read_input(facts: dict[str, Any]) -> InputSpec:
    """The input of a card.

    Raises:
        NO_CARD: it is none.
    """
    spec = InputSpec(**facts)
    good = (
        set(facts) == {field.name for field in fields(InputSpec)},
        all(type(count) is int and count > 0 for count in (spec.size, spec.stride, spec.channels)),
        spec.stride <= spec.size,
        0 <= spec.low_percentile < spec.high_percentile <= 100,
    )
    if not all(good):
        raise ValueError("a fact is missing or wrong")
    return spec


@dataclass(frozen=True)
class ModelIdentity:
    """What every result says of the model that made it.

    Attributes:
        name: the card's.
        precision: "fp32" or "int8".
        precision_reason: code of the reason why it served in this precision (`precision.PrecisionReason`).
        sha256: digest of its file; it differs between the two precisions.
    """

    name: str
    precision: str
    precision_reason: str
    sha256: str

    @classmethod
    def of(cls, card: Card, precision_reason: PrecisionReason, sha256: str) -> ModelIdentity:
        """Return the identity of a loaded model."""
        return cls(card.name, card.precision, str(precision_reason), sha256)


class Network:
    """A loaded model; one object serves every image, from several threads at once.

    Attributes:
        card: the model's own facts.
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
        except NO_CARD:
            raise ModelError(
                "The model carries no card of this service; write it with `python -m model_export export`."
            ) from None
        spec = self.card.input
        self._input = sole(self._session.get_inputs(), [1, spec.channels, spec.size, spec.size])
        sole(self._session.get_outputs(), [1, len(self.card.outputs), spec.size, spec.size])

    def __call__(self, radiograph: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each of the card's outputs, (outputs, size, size) float32 in [0, 1].

        Args:
            radiograph: (1, channels, size, size) float32, standardised.
        """
        (probability,) = self._session.run(None, {self._input: radiograph})
        return np.asarray(probability)[0]

    def checks_out(self) -> bool:
        """Whether this CPU gives the answer that the file promises; an FP32 file need not promise one."""
        if self.card.self_check is None:
            return self.card.precision == "fp32"
        try:
            inputs, _ = preprocess(selfcheck.drawing(), self.card.input)
        except BlankImage:  # no two greys lie between percentiles so near to each other
            return False
        return selfcheck.agrees(self(inputs)[0], self.card.self_check)


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
    digest = checksum.check(model)
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


def sole(nodes: list[Any], shape: list[int]) -> str:
    """The name of a session's only input, or only output, which is of float32 and of this shape.

    Raises:
        ModelError: it is not.
    """
    if [(node.type, node.shape) for node in nodes] != [("tensor(float)", shape)]:
        raise ModelError("The model's inputs and outputs do not fit its own card.")
    return str(nodes[0].name)


def int8_path(weights: Path) -> Path:
    """Where the INT8 form of a model lies: lung_unet.onnx has lung_unet.int8.onnx."""
    return weights.with_suffix(".int8.onnx")


@functools.cache
def load() -> Network:
    """Return the model that this process serves, loaded once.

    ``LUNG_MODEL`` names it: the path of a file, the bare name of one in the weights folder, as lung_unet, or an address
    that one of FETCHERS knows, and then ``LUNG_MODEL_SHA256`` its digest. ``LUNG_PRECISION`` is int8, fp32, or auto
    (`choose`).

    Raises:
        ModelError.
    """
    wanted = settings.PRECISION.read("auto")
    named = settings.MODEL.read(WEIGHTS.stem)
    scheme, separator, _ = named.partition("://")
    if separator and scheme not in FETCHERS:
        raise ModelError("LUNG_MODEL must be a path or a name here; only the service on AWS fetches models.")
    if separator:
        return choose(FETCHERS[scheme](named, settings.MODEL_SHA256.read("")), wanted, threads())
    weights = WEIGHTS.with_name(f"{named}.onnx") if named.isidentifier() else Path(named)
    return choose(weights, wanted, threads())


def choose(weights: Path, wanted: str, threads: int) -> Network:
    """Load ``weights`` or the INT8 file beside it.

    Args:
        weights: an FP32 file, or an INT8 file that is to serve by itself.
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
            model = Network(quantised, threads, PrecisionReason.SETTING if wanted == "int8" else passed)
            if model.checks_out():
                return model
            reason = PrecisionReason.SELF_CHECK_FAILED
            if products and wanted == "auto":
                log.warning("the INT8 model failed its self-check on this processor; serving the FP32 model")
        if wanted == "int8":
            raise ModelError(f"LUNG_PRECISION is int8, but {reason.text}. Unset it to serve the FP32 model.")
    elif wanted == "auto":
        reason = PrecisionReason.NO_INT8_FILE
    model = Network(weights, threads, reason)
    if model.card.precision == "int8":
        _check_int8_alone(model, products)
    if wanted not in ("auto", model.card.precision):
        raise ModelError(
            f"LUNG_PRECISION is {wanted}, but LUNG_MODEL names a model whose only file is {model.card.precision}. "
            "Unset LUNG_PRECISION, or name another model."
        )
    return model


def _check_int8_alone(model: Network, products: tuple[str, ...] | None) -> None:
    """Raise ModelError unless this processor can serve an INT8 model that was named itself."""
    model.precision_reason = PrecisionReason.NAMED
    if products == ():
        raise ModelError(f"LUNG_MODEL names an INT8 model, but {precision.NO_DOT_PRODUCTS}. Name its FP32 file.")
    if not model.checks_out():
        raise ModelError("The INT8 model that LUNG_MODEL names failed its self-check here. Name its FP32 file.")


def threads() -> int:
    """Threads for one image: ``LUNG_THREADS``, else the vCPUs of a Lambda function's memory, else all cores.

    Raises:
        ModelError: ``LUNG_THREADS`` is not a positive number.
    """
    count = settings.THREADS.read(None)
    if count is not None:
        return count
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    if memory is not None:
        return max(1, round(int(memory) / LAMBDA_MB_PER_VCPU))
    return cores()


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
