"""Add one of each kind in memory, use it, and print what users would see of it as JSON.

    python registry_worker.py FOLDER

Each addition is one new module and one line at the end of its registry: no file is changed, the import system is given
other sources. FOLDER is where the command line writes.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Addition:
    """One new member of a kind.

    Attributes:
        module: the new module's name; None where the line is all.
        source: its text.
        registry: the module that lists the kind.
        line: what is added there.
    """

    module: str | None
    source: str
    registry: str
    line: str


ADDITIONS = {
    "input format": Addition(
        "lungseg.decode.xray",
        """
import numpy as np
from lungseg.decode.radiograph import Radiograph

def matches(data):
    return data.startswith(b"XRAY")

def check(data):
    return data[4:]

def decode(data, min_side):
    return Radiograph(np.arange(400 * 400, dtype=np.uint16).reshape(400, 400))
""",
        "lungseg.decode.formats",
        "from lungseg.decode import xray; "
        'IMAGE_FORMATS += (ImageFormat("XRAY", "image/x-xray", xray.matches, xray.check, xray.decode, False),)',
    ),
    "output format": Addition(
        "lungseg.encode.area",
        """
def encode(result):
    return b"pixels: %d" % result.mask.sum()
""",
        "lungseg.encode.formats",
        'from lungseg.encode import area; FORMATS["area"] = '
        'Format("area", "text/x-area", ".area.txt", "the area as text", area.encode, accept=True, text=True)',
    ),
    "event source": Addition(
        "app.events.schedule",
        """
def infer(event):
    return event.get("source") == "aws.events"

def handle(event, run):
    return {"time": event["time"]}
""",
        "app.dispatch",
        "from app.events import schedule; EVENT_SOURCES += (schedule,)",
    ),
    "verdict reason": Addition(
        None,
        "",
        "lungseg.pipeline.reasons",
        'REASONS += (Reason("small-lungs", Decision.ACCEPT, "The lungs are small.", lambda found: found.left < 9**9),)',
    ),
    "CLI command": Addition(
        "lungseg.cli.greet",
        """
def add(commands):
    parser = commands.add_parser("greet", help="say hello")
    parser.set_defaults(run=run)

def run(arguments):
    print("hello")
    return 0
""",
        "lungseg.cli.main",
        "from lungseg.cli import greet; COMMANDS += (greet,)",
    ),
    "setting": Addition(
        None,
        "",
        "lungseg.settings",
        'COLOUR = Setting("LUNG_COLOUR", "`segment`", "`red`", "Colour of the overlay.", _one_of("red", "blue"))',
    ),
}


class AddingFinder(importlib.abc.MetaPathFinder):
    """Finds the new modules, and the registries with the added lines."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for the modules that differ from their files; None for all others."""
        for each in ADDITIONS.values():
            if fullname == each.module:
                return importlib.util.spec_from_loader(fullname, TextLoader(fullname, each.source))
        lines = [each.line for each in ADDITIONS.values() if each.registry == fullname]
        found = importlib.machinery.PathFinder.find_spec(fullname, path) if lines else None
        if found is None or found.origin is None:
            return None
        source = Path(found.origin).read_text(encoding="utf-8")
        return importlib.util.spec_from_loader(fullname, TextLoader(fullname, "\n".join((source, *lines))))


class TextLoader(importlib.abc.InspectLoader):
    """Loads a module from a text."""

    def __init__(self, name: str, source: str) -> None:
        self.name, self.source = name, source

    def get_source(self, fullname: str) -> str:
        """Return the text."""
        return self.source


def show_input_format(folder: Path) -> dict[str, Any]:
    """Use the new input format."""
    from lungseg import errors
    from lungseg.decode import decode
    from lungseg.server import api
    from lungseg.server.browser import build_page

    route = api.create_app().openapi()["paths"]["/v1/segment"]["post"]
    try:
        decode(b"no image")
    except errors.UnsupportedFormat as error:
        refusal = str(error)
    return {
        "pixels": list(decode(b"XRAY").pixels.shape),
        "help": "XRAY" in run_command("segment", "--help"),
        "openapi": "image/x-xray" in route["requestBody"]["content"] and "XRAY" in route["description"],
        "info": "XRAY" in run_command("info"),
        "page": "XRAY" in build_page()[0],
        "refusal": "XRAY" in refusal,
    }


def show_output_format(folder: Path) -> dict[str, Any]:
    """Use the new output format."""
    from app.buckets.settings import read_bucket_settings
    from app.http import TEXT_MEDIA_TYPES
    from lungseg.server import negotiation, schemas

    (folder / "chest").write_bytes(b"XRAY")
    run_command("segment", str(folder / "chest"), "--format", "area")
    return {
        "written": (folder / "chest.area.txt").read_text().split()[0],
        "help": "area" in run_command("segment", "--help").split(),
        "accept": negotiation.choose_format(None, "text/x-area").name,
        "openapi": "`area`" in schemas.FORMAT_HELP,
        "text on Lambda": "text/x-area" in TEXT_MEDIA_TYPES,
        "buckets": "area" in read_bucket_settings().formats,
    }


def show_event_source(folder: Path) -> dict[str, Any]:
    """Send an event of the new source to the handler."""
    import serverless

    return {"answer": serverless.handler({"source": "aws.events", "time": "noon"}, None)}


def show_verdict_reason(folder: Path) -> dict[str, Any]:
    """Segment an image to which the new reason applies."""
    from lungseg import segment

    (reason,) = (each for each in segment(b"XRAY").verdict.reasons if each.code == "small-lungs")
    return {"text": reason.text}


def show_command(folder: Path) -> dict[str, Any]:
    """Run the new command."""
    return {"printed": run_command("greet"), "help": "say hello" in run_command("--help")}


def show_setting(folder: Path) -> dict[str, Any]:
    """Read the new setting."""
    from lungseg import settings

    return {
        "value": settings.COLOUR.read("red"),
        "page": "LUNG_COLOUR" in settings.settings_page(),
    }  # type: ignore[attr-defined]


def run_command(*arguments: str) -> str:
    """Run a command of `lungseg`; return what it printed."""
    from lungseg.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main(list(arguments))
    return out.getvalue()


USES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "input format": show_input_format,
    "output format": show_output_format,
    "event source": show_event_source,
    "verdict reason": show_verdict_reason,
    "CLI command": show_command,
    "setting": show_setting,
}


def main() -> None:
    """Print the facts of each kind."""
    os.environ |= {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "LUNG_COLOUR": "blue",
        "LUNG_FORMATS": "mask area",
        "LUNG_INPUT_BUCKET": "images",
        "LUNG_OUTPUT_BUCKET": "masks",
        "POWERTOOLS_METRICS_NAMESPACE": "LungSegmentation",
        "POWERTOOLS_SERVICE_NAME": "batch",
    }
    sys.meta_path.insert(0, AddingFinder())
    with contextlib.redirect_stdout(sys.stderr):  # a line of metrics for the event
        facts = {kind: show(Path(sys.argv[1])) for kind, show in USES.items()}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
