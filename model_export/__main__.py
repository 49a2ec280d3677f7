"""`python -m model_export`: from the public images to the model that the service carries.

    python -m model_export prepare --input data/input --splits data/splits    images -> data/prepared
    python -m model_export train                                              data/prepared -> runs/lung_unet
    python -m model_export curve                                              its loss and Dice, as a picture
    python -m model_export export                                             best.pt -> lung_unet.onnx, as it is served
    python -m model_export evaluate                                           scores and pictures -> runs/evaluation
    python -m model_export robustness                                         the same on changed images
    python -m model_export verdict                                            when to rely on a mask
    python -m model_export compare --models runs/*/best.pt                    several models on the same images
    python -m model_export label --model runs/montgomery/best.pt              masks by a model, for self-training
    python -m model_export view --others photos/ ct/                          how an image lies, and if it is one
    python -m model_export tune                                               the author's experiments -> docs/TUNING.md
    python -m model_export search                                             accuracy against time -> docs/pareto.png
    python -m model_export report --cards docs                                all of it on one page, and the cards

Each command's --help tells its settings.
"""

from __future__ import annotations

import argparse
import sys

from model_export.commands import experiments, judging, making


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 if it was done, 2 and its reason on standard error if it could not be."""
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
    making.add_training_commands(commands)
    judging.add_scoring_commands(commands)
    experiments.add_sweep_commands(commands)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
