"""Segment a folder of images and handle events in one process: `arm64.py` runs this on the emulated processor.

    python arm64_worker.py FOLDER

FOLDER/images holds the images, FOLDER/formats.bin one for every output format, FOLDER/events/*.json the handler's
events. Masks go to FOLDER/masks, the formats to FOLDER/formats, answers to FOLDER/answers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


class Context:
    """The part of Lambda's context that the handler uses."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return 10 minutes."""
        return 600_000


def main() -> None:
    """Process everything in FOLDER."""
    folder = Path(sys.argv[1])
    from lungseg.encode.formats import FORMATS
    from lungseg.errors import ProblemError
    from lungseg.model import processor
    from lungseg.model.lung import load_lung
    from lungseg.pipeline.segment import segment

    model = load_lung()
    facts = [processor.describe_processor(), model.card.precision, str(model.precision_reason)]
    (folder / "facts.json").write_text(json.dumps(facts))
    for path in sorted((folder / "images").iterdir()):
        try:
            mask = FORMATS["mask"].encode(segment(path.read_bytes()))
        except ProblemError as error:
            mask = error.code.encode()
        (folder / "masks" / path.name).write_bytes(mask)
        print(path.name, flush=True)
    image = (folder / "formats.bin").read_bytes()
    result = segment(image)
    for output_format in FORMATS.values():
        (folder / "formats" / output_format.name).write_bytes(output_format.encode(result))
    from serverless import handler

    for path in sorted((folder / "events").iterdir()):
        answer = handler(json.loads(path.read_text()), Context())
        (folder / "answers" / path.name).write_text(json.dumps(answer))
        print(path.name, flush=True)


if __name__ == "__main__":
    main()
