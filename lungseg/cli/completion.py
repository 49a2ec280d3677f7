"""`completion`: print a script that completes this command line in a shell."""

from __future__ import annotations

import argparse

from lungseg.cli.common import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_REFUSED,
    CommandParsers,
    exit_codes,
    require_package,
    walk_parsers,
)

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")

FILE_ARGUMENTS = {"images", "image", "source", "output", "overlay", "report", "csv", "model"}
"""Arguments, by their name in the namespace, that are completed with files; images have any suffix, or none."""

FOLDER_ARGUMENTS = {"target"}
"""Those that are completed with folders."""

IMAGE_WITHOUT_COMMAND = {
    "bash": "complete -o bashdefault -o default -F _shtab_lungseg lungseg",
    "fish": "complete --command lungseg --condition __fish_is_first_token --force-files",
}
"""Lines after shtab's script, which offers only commands as the first word: `lungseg image.dcm` is valid, too."""

ZSH_PREAMBLE = """\
functions[_lungseg_command_names]=$functions[_shtab_lungseg_commands]
_shtab_lungseg_commands() {
  _lungseg_command_names
  _files
}
"""
"""The same for zsh, within the script."""

COMPLETION_DESCRIPTION = """\
Print a script that lets a shell complete commands, options, formats and files
when you press Tab. Write it to where your shell looks for such scripts, and
start a new shell. Repeat that after an upgrade.
"""

COMPLETION_EXAMPLES = """\
examples:
  lungseg completion bash > ~/.local/share/bash-completion/completions/lungseg
                  needs the package bash-completion; make the folder first
  lungseg completion zsh > ~/.zfunc/_lungseg
                  with this before compinit in ~/.zshrc: fpath=(~/.zfunc $fpath)
  lungseg completion fish > ~/.config/fish/completions/lungseg.fish
  lungseg completion tcsh > ~/.lungseg.tcsh
                  with this in ~/.tcshrc: source ~/.lungseg.tcsh
  lungseg completion powershell | Out-String | Invoke-Expression
                  in PowerShell's $PROFILE

"""

COMPLETION_EXIT_CODES = exit_codes(
    {
        EXIT_DONE: "done",
        EXIT_FAILED: "internal error",
        EXIT_REFUSED: "the command line is invalid; standard error says why",
    }
)


def add(commands: CommandParsers) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "completion",
        help="print a script that completes this command in a shell",
        description=COMPLETION_DESCRIPTION,
        epilog=COMPLETION_EXAMPLES + COMPLETION_EXIT_CODES,
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    shtab = require_package("shtab")
    kinds = dict.fromkeys(FILE_ARGUMENTS, shtab.FILE) | dict.fromkeys(FOLDER_ARGUMENTS, shtab.DIRECTORY)
    for parser in walk_parsers(arguments.main_parser):
        for action in parser._actions:
            if action.dest in kinds:
                action.complete = kinds[action.dest]  # type: ignore[attr-defined]
    preamble = ZSH_PREAMBLE if arguments.shell == "zsh" else ""
    script = shtab.complete(arguments.main_parser, arguments.shell, preamble=preamble)
    print(f"{script}\n{IMAGE_WITHOUT_COMMAND.get(arguments.shell, '')}".rstrip(), flush=True)
    return EXIT_DONE
