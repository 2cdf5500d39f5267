"""`segcompass convert-sae`: the release's `ep_<n>.pt`, or another project's state dict, as a checkpoint folder that SAELens loads too."""

import argparse
from pathlib import Path

from segcompass.errors import InputError
from segcompass.provenance.new_folder import new_folder
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.release import LAYOUTS, read_release


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="the release's ep_<n>.pt or dictionary_learning's ae.pt; only tensors are read"
    )
    parser.add_argument("--layout", choices=LAYOUTS, help="whose tensors they are, where their names do not tell")
    parser.add_argument("--hook-layer", type=int, required=True, help="l: the dictionary reads the output of block l, counted from 1")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="new folder of the checkpoint")


def run(arguments: argparse.Namespace) -> int:
    """Writes `cfg.json` and `sae_weights.safetensors`."""
    if arguments.hook_layer < 1:
        raise InputError(None, "--hook-layer", f"is {arguments.hook_layer}; blocks are counted from 1")
    with new_folder(arguments.out) as draft:
        save_dictionary(read_release(arguments.file, arguments.hook_layer, arguments.layout), draft)
    return 0
