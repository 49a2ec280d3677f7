"""LUNG_MODEL=s3://bucket/key: the file is fetched once, and only with the expected digest."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from buckets import Buckets
from processes import one_line, run, start_function

from app import model_store
from lungseg.errors import ModelError
from lungseg.model.lung import LUNG_WEIGHTS

CONTENT = LUNG_WEIGHTS.read_bytes()
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_model_is_fetched_once(buckets: Buckets, tmp_path: Path) -> None:
    buckets.drop("models/lung.onnx", CONTENT)
    names = {"LUNG_MODEL": f"s3://{buckets.films}/models/lung.onnx", "LUNG_MODEL_SHA256": DIGEST}
    for _ in range(2):  # the second one finds it in its folder, and needs no bucket
        assert start_function(TMPDIR=str(tmp_path), **names).stdout.split() == [DIGEST]
        buckets.client.delete_object(Bucket=buckets.films, Key="models/lung.onnx")


def test_changed_model_file_is_fetched_again(buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_store, "MODEL_FOLDER", tmp_path)
    buckets.drop("lung.onnx", CONTENT)
    (tmp_path / f"{DIGEST}.onnx").write_bytes(b"changed")
    assert model_store.fetch_model(f"s3://{buckets.films}/lung.onnx", DIGEST).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("key", "digest", "message"),
    [
        ("lung.onnx", "0" * 64, "not the one of LUNG_MODEL_SHA256"),
        ("lung.onnx", "", "must be the SHA-256"),
        ("missing.onnx", DIGEST, "not in its bucket"),
        ("", DIGEST, "must be s3://bucket/key"),
    ],
)
def test_wrong_or_missing_model_is_rejected(
    key: str, digest: str, message: str, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_store, "MODEL_FOLDER", tmp_path)
    buckets.drop("lung.onnx", CONTENT)
    with pytest.raises(ModelError, match=message):
        model_store.fetch_model(f"s3://{buckets.films}/{key}", digest)


def test_missing_bucket_fails_the_start(buckets: Buckets, tmp_path: Path) -> None:
    names = {"LUNG_MODEL": "s3://no-such-bucket-at-all/lung.onnx", "LUNG_MODEL_SHA256": DIGEST}
    done = start_function(TMPDIR=str(tmp_path), **names)
    assert done.returncode == 1
    assert "cannot be fetched" in done.stderr.splitlines()[-1]


def test_cli_rejects_model_in_a_bucket() -> None:
    done = run("info", LUNG_MODEL="s3://models/lung.onnx", LUNG_MODEL_SHA256=DIGEST)
    assert done.returncode == 1
    assert "only the service on AWS fetches models" in one_line(done)
