"""Fetch a model from a bucket, once per Lambda execution environment."""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path

from app.buckets.s3 import ObjectArchived, ObjectMissing, StoreError, get_store
from lungseg.errors import ModelError

MODEL_FOLDER = Path(tempfile.gettempdir()) / "lung-models"
"""/tmp is the only writable place on Lambda; it lives as long as the execution environment.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html"""


def fetch_model(uri: str, sha256: str) -> Path:
    """Return the local file of a model at ``s3://bucket/key``; its digest is its file name.

    Args:
        uri: address of the model.
        sha256: expected digest, 64 hex digits, so that only the evaluated model runs.

    Raises:
        ModelError: it cannot be fetched, or has another digest.
    """
    address = re.fullmatch(r"s3://([^/]+)/(.+)", uri)
    if address is None:
        raise ModelError("LUNG_MODEL must be s3://bucket/key, a path, or a name in lungseg/model/weights.")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ModelError("LUNG_MODEL_SHA256 must be the SHA-256 of the model that LUNG_MODEL names, 64 hex digits.")
    path = MODEL_FOLDER / f"{sha256}.onnx"
    if path.is_file() and _digest(path.read_bytes()) == sha256:
        return path
    try:
        content = get_store().read_object(address[1], address[2])
    except (ObjectMissing, ObjectArchived):
        raise ModelError("The model that LUNG_MODEL names is not in its bucket.") from None
    except StoreError as error:
        raise ModelError(f"The model cannot be fetched. {error}") from None
    if _digest(content) != sha256:
        raise ModelError("The model that LUNG_MODEL names is not the one of LUNG_MODEL_SHA256.")
    MODEL_FOLDER.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
