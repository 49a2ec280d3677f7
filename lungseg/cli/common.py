"""Shared by the commands: exit codes, options that decide how an image is segmented, and the argument parser."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Container, Iterator
from types import ModuleType
from typing import Any, NoReturn

from lungseg import settings
from lungseg.encode.formats import FORMATS
from lungseg.model.lung import find_weights, model_names, unknown_model
from lungseg.pipeline.options import DEFAULT_OPACITY, Options
from lungseg.terminal import escape_name, install_command, print_status

EXIT_DONE, EXIT_FAILED, EXIT_REFUSED, EXIT_DOUBTFUL, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

MAX_LISTED_ARGUMENTS = 3

FORMAT_LIST = "formats:\n" + "".join(
    textwrap.fill(f"  {each.name:<12} {each.meaning}", 80, subsequent_indent=" " * 15) + "\n"
    for each in FORMATS.values()
)

CommandParsers = Any
"""What argparse returns for subcommands; it has no public type for it."""


class CommandError(Exception):
    """The command cannot be carried out. Becomes one line on standard error and exit code 2."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and whose help keeps the line breaks of the examples.

    Attributes:
        commands: the commands of the main parser, by name.
        words_hint: what an error about too many words adds.
    """

    commands: Container[str] = ()
    words_hint = ""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """Print one line, and exit with code 2."""
        print_status(f"error: {escape_name(message)}; see {self.prog} --help")
        self.exit(EXIT_REFUSED)

    def parse_command(self, arguments: list[str] | None) -> argparse.Namespace:
        """Parse a command line. Unlike `parse_args`, errors point to the help of the subcommand."""
        options, unknown = self.parse_known_args(arguments)
        if unknown:
            listed = " ".join(unknown[:MAX_LISTED_ARGUMENTS])
            more = len(unknown) - MAX_LISTED_ARGUMENTS
            hint = "" if any(word.startswith("-") for word in unknown) else options.parser.words_hint
            options.parser.error(f"unrecognized arguments: {listed}{f' and {more} more' if more > 0 else ''}{hint}")
        return options


def walk_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser, and those of its commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from walk_parsers(command)


def exit_codes(meanings: dict[int, str]) -> str:
    """Return the exit codes of a command as a section of its help."""
    return "exit codes:\n" + "".join(
        textwrap.fill(f"  {code:<5}{meaning}", 80, subsequent_indent=" " * 7) + "\n"
        for code, meaning in meanings.items()
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add --strict, and the arguments that `read_options` reads."""
    parser.add_argument(
        "--threshold",
        type=_threshold,
        metavar="T",
        help="probability above which a pixel is lung, between 0 and 1 (default: the model's own, 0.5)",
    )
    parser.add_argument(
        "--no-clean",
        action="store_true",
        help="keep small fragments and holes; by default, fragments under 5 %% of the larger lung are removed and "
        "holes under 10 %% are filled",
    )
    parser.add_argument("--no-upright", action="store_true", help="skip rotation and inversion detection")
    parser.add_argument(
        "--opacity",
        type=_opacity,
        default=DEFAULT_OPACITY,
        metavar="A",
        help="opacity of the lungs in overlays, from 0 (outlines only) to 1 (default: %(default)s)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with code 3 if a verdict is review or reject; outputs are the same"
    )


def read_options(arguments: argparse.Namespace) -> Options:
    """Return how the command line asks to segment an image."""
    return Options(
        arguments.threshold,
        clean=not arguments.no_clean,
        upright=not arguments.no_upright,
        opacity=arguments.opacity,
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model, which `use_model` applies."""
    parser.add_argument(
        "--model",
        type=_model,
        metavar="NAME|PATH",
        help=f"the model: {' or '.join(model_names())}, or the path of an ONNX file (default: LUNG_MODEL, else "
        f"{model_names()[0]})",
    )


def use_model(arguments: argparse.Namespace) -> None:
    """Let this process, and the processes that it starts, segment with the model of the command line."""
    if arguments.model is not None:
        os.environ[settings.MODEL.name] = arguments.model


def require_package(name: str) -> ModuleType:
    """Import a package that an extra of this one installs, or that only commands need.

    Raises:
        CommandError: it is not installed.
    """
    try:
        return __import__(name)
    except ModuleNotFoundError:
        raise CommandError(f"{name} is not installed; run: {install_command(name)}") from None


def positive_int(text: str) -> int:
    """Parse an argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _model(text: str) -> str:
    if not find_weights(text).is_file():
        raise argparse.ArgumentTypeError(unknown_model(text).removesuffix("."))
    return text


def _threshold(text: str) -> float:
    try:
        value = float(text)
        Options(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1, exclusive") from None
    return value


def _opacity(text: str) -> float:
    try:
        return Options(opacity=float(text)).opacity
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1") from None
