"""`segcompass edit`: sets, scales or swaps concepts of a trained run's answer, or its thought, and shows the mask before and after."""

import argparse
import json
from pathlib import Path
from typing import Any

from segcompass.commands.flags import add_new_folder, add_question, add_run
from segcompass.datasets.images import read_image
from segcompass.datasets.samples import checked_text
from segcompass.errors import InputError, shown
from segcompass.explain.answered import Answered, answered, concept_tokens
from segcompass.explain.carriers import carrying
from segcompass.explain.described import edit_json
from segcompass.explain.edit import Editable, EditedCodes, Outcome, Setting, Swap, codes_of, edited_codes, other_words
from segcompass.explain.names import ConceptNames, names_of
from segcompass.explain.picture import edit_figure, save, save_mask
from segcompass.joint.stored_run import load_predictor, stored_run
from segcompass.provenance.new_folder import new_folder

MARGIN = 4 << 20
"""Bytes that an edit takes beside its pictures' pixels, at most about."""
SHOWN = 8
"""Changed concepts that are printed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_question(parser)
    setting = "a concept's code becomes VALUE, or is multiplied by a factor; CONCEPT is a number, a value (`red`) or a leading word"
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="CONCEPT=VALUE|CONCEPT=xFACTOR", help=setting)
    swap = "take codes from the answer to another picture and instruction"
    parser.add_argument("--swap-from", nargs=2, metavar=("IMAGE", "INSTRUCTION"), help=swap)
    parser.add_argument("--attribute", help="take the concepts alone that carry this attribute in thoughts (colour, shape, …)")
    parser.add_argument("--thought", metavar="WORDS", help="words that are read in place of the run's own thought")
    parser.add_argument("--swap-thought", metavar="WORDS", help="the same for the answer that codes are taken from")
    where = "tokens that may change; those of the thought for swaps, all for settings, if left out"
    parser.add_argument("--on", nargs="+", choices=("visual", "instruction", "thought"), help=where)
    add_run(parser)
    add_new_folder(parser, "edit")


def run(arguments: argparse.Namespace) -> int:
    """Writes `edit.json`, `edit.png`, `before.png` and `after.png`, and prints what they say."""
    _refuse_idle(arguments)
    settings = [Setting.parsed(text) for text in arguments.set]
    asked = [(arguments.image, arguments.instruction, arguments.thought, "INSTRUCTION", "--thought")]
    if arguments.swap_from:
        asked.append((Path(arguments.swap_from[0]), arguments.swap_from[1], arguments.swap_thought, "--swap-from", "--swap-thought"))
    for _, instruction, thought, field, flag in asked:
        checked_text(instruction, None, field)
        if thought is not None:
            checked_text(thought, None, flag)
    images = [read_image(path) for path, *_ in asked]
    with new_folder(arguments.out, needed=6 * images[0].nbytes + MARGIN) as folder:
        stored = stored_run(arguments.model)
        predictor = load_predictor(stored, arguments.threshold, arguments.device, arguments.dtype)
        threshold = concept_tokens(predictor.interface_model).threshold
        names = names_of(stored.names, predictor.interface_model.dictionary.features)
        chosen = [(names.find(setting.name, "--set"), setting) for setting in settings]
        taken = carrying(stored, predictor, names, arguments.attribute) if arguments.attribute else None
        own = answered(predictor, images[0], arguments.instruction, arguments.thought)
        if settings or arguments.swap_from:
            swap = None
            if arguments.swap_from:
                other = answered(predictor, images[1], arguments.swap_from[1], arguments.swap_thought, "--swap-from", "--swap-thought")
                swap = Swap(codes_of(predictor, other), taken)
            editable = Editable(predictor, own)
            codes = edited_codes(editable.codes, swap, chosen, arguments.on, threshold)
            answer, outcome = own, editable.edited(codes)
        else:
            answer, codes = answered(predictor, images[0], arguments.instruction), None
            outcome = other_words(predictor, answer, own)
        facts = {"run": stored.described(), "instruction": arguments.instruction, "answer": answer.text} | _asked(arguments, chosen, taken)
        (folder / "edit.json").write_text(json.dumps(edit_json(outcome, codes, names, facts), indent=1) + "\n", encoding="utf-8")
        save(edit_figure(images[0], outcome, f"{arguments.instruction}: {answer.thought}"), folder / "edit.png")
        save_mask(outcome.mask_before, folder / "before.png")
        save_mask(outcome.mask_after, folder / "after.png")
    _print(answer, own, outcome, codes, names)
    print(f"files in {arguments.out}")
    return 0


def _refuse_idle(arguments: argparse.Namespace) -> None:
    """Refuses calls that would change nothing, or of which a part would do nothing."""
    if not (arguments.set or arguments.swap_from or arguments.thought):
        raise InputError(None, "edit", "changes nothing; give --set, --swap-from or --thought")
    for flag in ("attribute", "swap_thought"):
        if getattr(arguments, flag) is not None and not arguments.swap_from:
            raise InputError(None, f"--{flag.replace('_', '-')}", "does nothing without --swap-from IMAGE INSTRUCTION; give both")


def _asked(arguments: argparse.Namespace, chosen: list[tuple[list[int], Setting]], taken: list[int] | None) -> dict[str, Any]:
    settings = [{"name": one.name, "concepts": ids, "number": one.number, "scaled": one.scaled} for ids, one in chosen]
    swap = None
    if arguments.swap_from:
        image, instruction = arguments.swap_from
        swap = {"image": Path(image).name, "instruction": instruction, "attribute": arguments.attribute, "concepts": taken}
    return {"settings": settings, "swap": swap, "thought": arguments.thought, "on": arguments.on}


def _print(answer: Answered, own: Answered, outcome: Outcome, codes: EditedCodes | None, names: ConceptNames) -> None:
    print(f"thought: {shown(answer.thought) or '(none)'}")
    if codes is None:
        print(f"read instead: {shown(own.thought)}")
    changed = codes.changed() if codes else []
    for concept, sums in changed[:SHOWN]:
        moved = ", ".join(f"{name} {value:+.2f}" for name, value in sums.items() if value)
        print(f"  concept {concept} ({shown(names.of(concept).title)}): {moved or 'as much more as less'}")
    if len(changed) > SHOWN:
        print(f"  and {len(changed) - SHOWN} more concepts; edit.json lists them")
    if codes is not None and not changed:
        print("no code changed: the concepts are not active, or have these codes already")
    before, after = int(outcome.mask_before.sum()), int(outcome.mask_after.sum())
    print(f"mask: {before} pixels before, {after} after; IoU with itself {outcome.iou:.2f}")
    if outcome.observed is not None:
        print(f"score {outcome.score:.2f}: predicted change {outcome.predicted:+.2f}, observed {outcome.observed:+.2f}")
        print(f"through SAM: predicted change {outcome.predicted_mask:+.2f}, observed {outcome.observed_mask:+.2f}")
    else:
        print(f"score {outcome.score:.2f} before; what other words do is not predicted by codes")
    now = " ".join(map(str, outcome.slots_after)) or "none, which says that there is no target"
    print(f"slots {' '.join(map(str, outcome.slots))} are compared; confident after the edit: {now}")
    print(f"sham edit: {outcome.sham[0]} of {outcome.sham[1]} mask logits differ")
