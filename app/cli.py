"""The command line door: one film, a folder of films, or a local server."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from app import __version__, errors, limits, naming, network
from app.encode.mask_png import mask_png
from app.encode.overlay import overlay_png
from app.folder import find_films, read_film, segment_folder, write_whole
from app.pipeline import segment

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130

EXIT_CODES = """\
exit codes:
  0  done
  1  batch: some films failed, the others are done; else: the program itself could not work
  2  the film or the command line was refused, for the reason on standard error
"""


class CommandError(Exception):
    """The command cannot be carried out: one line on standard error and exit code 2."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code. Every failure is one line on standard error."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except errors.FilmError as error:
        return _fail(error.line(), REFUSED)
    except CommandError as error:
        return _fail(str(error), REFUSED)
    except errors.ModelError as error:
        return _fail(str(error), FAILED)
    except BrokenPipeError:
        # Python would flush the closed pipe once more on its way out, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _fail("standard output was closed before the mask was written", FAILED)
    except OSError as error:
        return _fail(f"{error.strerror}: {error.filename}", FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)
    except Exception as error:  # its text may quote the film
        return _fail(f"internal-error: an unexpected {type(error).__name__} stopped the command", FAILED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Lung masks of frontal chest radiographs. Not a medical device; it makes no diagnosis.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser(
        "segment",
        help="one film to one mask",
        description="Segment one film (PNG, JPEG, TIFF, BMP, WebP or DICOM) and write its mask: a 1-bit PNG of the "
        "film's own size, white = lung.",
        epilog="examples:\n"
        "  python -m app segment film.dcm                       writes film.dcm.mask.png\n"
        "  python -m app segment film.png --overlay look.png    and a picture to look at\n"
        "  cat film.jpg | python -m app segment - > mask.png    from a pipe to a pipe\n\n" + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    one.add_argument("film", metavar="FILE|-", help="the film; - reads it from standard input")
    one.add_argument(
        "-o", "--output", metavar="OUT|-", help="the mask; - is standard output (default: FILE.mask.png, or - for -)"
    )
    one.add_argument("--overlay", metavar="OUT", help="also write the film with the mask laid over it, PNG")
    one.set_defaults(run=_segment)

    folder = commands.add_parser(
        "batch",
        help="a folder of films to a folder of masks",
        description="Segment every file below IN_DIR, hidden ones left out. film.dcm gives OUT_DIR/film.dcm.mask.png, "
        "in the same tree; a film that is refused gives film.dcm.error.json instead, and the others go on.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folder.add_argument("source", metavar="IN_DIR", type=Path)
    folder.add_argument("target", metavar="OUT_DIR", type=Path)
    folder.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes; they share the cores (default: %(default)s)"
    )
    folder.set_defaults(run=_batch)

    server = commands.add_parser(
        "serve",
        help="the HTTP service on this machine",
        description="Serve POST /v1/segment, GET /health and the API's description at /docs. No request is logged.",
    )
    server.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    server.add_argument(
        "--port", type=int, choices=range(1, 65536), metavar="PORT", default=8000, help="port (default: %(default)s)"
    )
    server.set_defaults(run=_serve)
    return parser


def _segment(options: argparse.Namespace) -> int:
    piped = options.film == "-"
    output = options.output or ("-" if piped else naming.mask_name(options.film))
    _check_outputs(None if piped else options.film, output, options.overlay)
    network.load()
    data = _read_standard_input() if piped else _read_file(options.film)

    started = time.perf_counter()
    result = segment(data)
    mask = mask_png(result.mask)
    seconds = time.perf_counter() - started
    if output == "-":
        sys.stdout.buffer.write(mask)
        sys.stdout.buffer.flush()
    else:
        write_whole(Path(output), mask)
    if options.overlay:
        write_whole(Path(options.overlay), overlay_png(result.radiograph.pixels, result.mask))

    film = result.radiograph
    _say(f"film: {film.width} x {film.height} pixels; lungs cover {result.lung_share:.1%} of it ({seconds:.2f} s)")
    if output != "-":
        _say(f"mask: {output}")
    if options.overlay:
        _say(f"overlay: {options.overlay}")
    if not result.mask.any():
        _say("warning: no lung was found; is this a frontal chest film?")
    return DONE


def _check_outputs(film: str | None, output: str, overlay: str | None) -> None:
    """Refuse outputs that would overwrite the film or each other, or print a PNG on a terminal."""
    if output == "-" and (sys.stdout is None or sys.stdout.isatty()):
        raise CommandError("a PNG will not be written to a terminal; name a file with -o, or redirect")
    if overlay == "-":
        raise CommandError("standard output is for the mask alone; name a file for --overlay")
    places = [Path(name).resolve() for name in (film, output, overlay) if name not in (None, "-") and name]
    if len(set(places)) < len(places):
        raise CommandError("the output would overwrite the film or another output; name another file")


def _read_standard_input() -> bytes:
    if sys.stdin is None:
        raise CommandError("standard input is closed")
    return sys.stdin.buffer.read(limits.MAX_BYTES + 1)


def _read_file(film: str) -> bytes:
    try:
        return read_film(Path(film))
    except OSError as error:
        raise errors.Unreadable(f"The file cannot be read ({error.strerror}).") from None


def _batch(options: argparse.Namespace) -> int:
    tqdm = _workstation("tqdm").tqdm
    if not options.source.is_dir():
        raise CommandError("IN_DIR is no folder")
    if options.target.resolve().is_relative_to(options.source.resolve()):
        raise CommandError("OUT_DIR lies in IN_DIR, so masks would be taken for films; name a folder outside it")
    if options.workers < 1:
        raise CommandError("--workers must be at least 1")
    films, closed = find_films(options.source)
    if not films and not closed:
        raise CommandError("IN_DIR holds no file")
    network.load()
    options.target.mkdir(parents=True, exist_ok=True)

    failed, started = 0, time.perf_counter()
    for folder in closed:
        _say(f"failed: {folder}: this folder cannot be read; its films are not counted")
    with tqdm(total=len(films), unit="film") as bar:
        for film, problem in segment_folder(films, options.source, options.target, options.workers):
            if problem:
                failed += 1
                # Said to the person who named the folder; the service's own logs never name a film.
                bar.write(f"failed: {film}: {problem['code']}: {problem['detail']}", file=sys.stderr)
            bar.update()
    seconds = time.perf_counter() - started
    _say(
        f"{len(films) - failed} of {len(films)} films segmented, {failed} failed, in {seconds:.1f} s "
        f"({len(films) / seconds:.1f} films/s); masks in {options.target}"
    )
    return FAILED if failed or closed else DONE


def _serve(options: argparse.Namespace) -> int:
    uvicorn = _workstation("uvicorn")
    network.load()
    from app.api import app  # FastAPI is slow to import, and only a server needs it

    # No access log: its lines would hold query strings.
    uvicorn.run(app, host=options.host, port=options.port, access_log=False, server_header=False)
    return DONE


def _workstation(name: str):  # type: ignore[no-untyped-def]
    """A module that a workstation has and the service does not."""
    try:
        return __import__(name)
    except ModuleNotFoundError:
        raise CommandError(f"{name} is not installed; run: pip install -r app/requirements.txt") from None


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _fail(line: str, code: int) -> int:
    _say(f"error: {line}")
    return code
