"""The JSON document of a result: verdict, measurements, model and timings."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lungseg.pipeline.measure import measure_lungs
from lungseg.pipeline.result import Result


def document(result: Result) -> dict[str, Any]:
    """Return the document of one image; `schemas.Segmentation` describes each member."""
    radiograph, verdict = result.radiograph, result.verdict
    lungs = measure_lungs(result)
    return {
        "verdict": {
            "decision": str(verdict.decision),
            "reasons": [
                {"code": reason.code, "decision": str(reason.decision), "text": reason.text}
                for reason in verdict.reasons
            ],
            "frontal": round(verdict.frontal, 4),
            "confidence": round(verdict.confidence, 4),
            "expected_dice": None if verdict.expected_dice is None else round(verdict.expected_dice, 4),
            "doubtful_parts": list(verdict.doubtful_parts),
        },
        "image": {
            "width": radiograph.width,
            "height": radiograph.height,
            "spacing_mm": None if radiograph.spacing is None else asdict(radiograph.spacing),
            "turned_degrees": 90 * result.pose.turns,
            "inverted": result.pose.inverted,
            "mirrored": result.pose.mirrored,
        },
        "lungs": {
            "both": asdict(lungs.both),
            "right": asdict(lungs.right),
            "left": asdict(lungs.left),
            "right_to_left": None if lungs.right_to_left is None else round(lungs.right_to_left, 4),
            "share": round(lungs.share, 5),
        },
        "threshold": result.threshold,
        "model": asdict(result.model),
        "milliseconds": {stage: round(value, 2) for stage, value in result.milliseconds.items()},
    }
