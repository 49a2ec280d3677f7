"""`python -m model_export`: from the public images to the model that the service uses.

    python -m model_export prepare --input data/input --splits data/splits    images -> data/prepared
    python -m model_export train                                              data/prepared -> runs/lung_unet
    python -m model_export curve                                              plots its loss and Dice
    python -m model_export export                                             best.pt -> lung_unet.onnx, as it is served
    python -m model_export evaluate                                           scores and pictures -> runs/evaluation
    python -m model_export robustness                                         the same on modified images
    python -m model_export verdict                                            how reliable the verdicts are
    python -m model_export compare --models runs/*/best.pt                    several models on the same images
    python -m model_export label --model runs/montgomery/best.pt              predicted masks, for self-training
    python -m model_export view --others photos/ ct/                          trains the view network
    python -m model_export tune                                               the original experiments -> docs/TUNING.md
    python -m model_export search                                             accuracy against time -> docs/pareto.png
    python -m model_export report --cards docs                                everything on one page, and the cards

Each command's --help lists its settings.
"""

from __future__ import annotations

import argparse
import sys

from model_export.commands import data, scoring, sweeps, training


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return 0, or 2 with the reason on stderr if it failed."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data.add_data_commands(commands)
    training.add_training_commands(commands)
    scoring.add_scoring_commands(commands)
    sweeps.add_sweep_commands(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
