"""Every event has a defined response: over HTTP a status and a problem document, for records what their source expects,
or an error of a declared type if the source expects that.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from event_shapes import BUCKET, originals
from ledger import Ledger, cases
from processes import smaller

HERE = Path(__file__).parent
SEED = 20_261_123
COUNT = cases(400, 20_000)
"""Events, given to the two entry points in turn."""
DOORS = ("http", "records")


def test_every_event_has_a_defined_response(ledger: Ledger, small: bytes, tmp_path: Path) -> None:
    image = tmp_path / "film.png"
    image.write_bytes(smaller(small, 96))
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "lungs",
        "LUNG_INPUT_BUCKET": BUCKET,
        "LUNG_OUTPUT_BUCKET": "lung-masks",
        "LUNG_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (HERE.parents[1], HERE.parent / "support", HERE))),
    }
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "LUNG_FORMATS"):
        environment.pop(name, None)
    playing = [
        subprocess.Popen(
            [sys.executable, HERE / "event_player.py", image, *map(str, (SEED, COUNT, turn, len(DOORS)))],
            env=environment | {"LUNG_DOOR": door},
            stdout=subprocess.PIPE,
            text=True,
        )
        for turn, door in enumerate(DOORS)
    ]
    told = [process.communicate()[0] for process in playing]
    assert not any(process.returncode for process in playing)
    parts = [json.loads(each) for each in told]
    broken = [f"{part['door']}: {line}" for part in parts for line in part["broken"]]
    kinds = sum((Counter(part["kinds"]) for part in parts), Counter[str]())
    tried = sum(part["tried"] for part in parts)
    answers = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    ledger.enter(
        5,
        "Every Lambda event has a defined response",
        f"{tried:,} events of {len(originals())} shapes at {len(DOORS)} entry points, seed {SEED}",
        f"{len(broken)} without; {answers}; slowest {max(part['slowest'] for part in parts):.2f} s",
    )
    assert not broken, "\n".join(broken[:50])
