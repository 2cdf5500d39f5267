"""The command `segcompass`: one module of `segcompass/commands/` a sub-command, imported only when it is called."""

import argparse
import gc
import os
import sys
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from segcompass.errors import FULL, InputError
from segcompass.instruction_set import asked_by, pin

COMMANDS = {
    "samples": "list a benchmark's expressions with their masks, one JSON object a line",
    "score": "score anybody's predictions under a named protocol",
    "predict": "segment one image by one instruction with a trained run",
    "explain": "say why a trained run segments what it does, concept by concept",
    "edit": "change a trained run's concepts, or its thought, and see the mask move",
    "demo": "show a trained run in the browser: ask it, turn its concepts, exchange them",
    "check": "say what of the benchmarks is there, against what should be",
    "scale": "say what a study needs: parameters, memory, disk and GPU hours, before it is run",
    "times": "say what a study took, stage by stage, after it was run",
    "claims": "decide a study's claims again from its committed records",
    "compare-reports": "say which numbers of two reports agree within their intervals",
    "cache-size": "say how large a study's activation cache becomes",
    "convert-sae": "turn the release's dictionary, or dictionary_learning's, into a checkpoint that SAELens loads too",
    "score-backbone": "say what an embedded backbone can do on held-out scenes",
    "gates": "say whether a base policy has room for reinforcement, and can be taught",
    "ship-backbone": "put a built backbone into the repository, with its card",
    "ship-run": "put a trained run into the repository, with its dictionary and its concepts' names",
}
"""Sub-command -> what it does; its module, `-` written `_`, has `add_arguments(parser)` and `run(arguments) -> int`."""


def main(argv: list[str] | None = None) -> int:
    """Runs a sub-command.

    Returns:
        Exit code: the command's own, or 2 with one sentence on standard error for bad input.
    """
    words = sys.argv[1:] if argv is None else argv
    if argv is None:  # a process of our own, which has imported neither torch nor NumPy yet
        pin(asked_by(words))
        _without_collecting(words)
    parser = argparse.ArgumentParser(prog="segcompass", description="Reasoning segmentation: read, score, explain.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {version('segcompass')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        if words and words[0] == name:
            _module(name).add_arguments(sub)
    arguments = parser.parse_args(words)
    try:
        code = int(_module(arguments.command).run(arguments))
        sys.stdout.flush()
        return code
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, less) went away; that is no fault, and nothing more can be written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in FULL:
            raise
        problem = f"cannot be written ({error.strerror}); free space there"
        print(InputError(error.filename or "standard output", "", problem), file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2


def _without_collecting(words: list[str]) -> None:
    """Imports the command's module without looking for garbage: there is next to none, and looking takes a tenth of the time."""
    if words and words[0] in COMMANDS:
        gc.disable()
        _module(words[0])
        gc.freeze()
        gc.enable()


def _module(command: str) -> ModuleType:
    return import_module(f"segcompass.commands.{command.replace('-', '_')}")


if __name__ == "__main__":
    raise SystemExit(main())
