"""`segcompass explain`: why a trained run segments what it does: concepts, what removing each does, paths, and how far to trust that."""

import argparse
import json

from segcompass.commands.flags import add_new_folder, add_question, add_run, add_whole_number
from segcompass.datasets.images import read_image
from segcompass.datasets.samples import checked_text
from segcompass.errors import shown
from segcompass.explain.answered import answered, concept_tokens
from segcompass.explain.described import explanation_json
from segcompass.explain.donors import donors_for
from segcompass.explain.explanation import LISTED, Explanation, Slot, explain, unexplained
from segcompass.explain.names import ConceptNames, names_of
from segcompass.explain.page import PATH_NAMES, page
from segcompass.explain.picture import explanation_figure, save
from segcompass.joint.stored_run import load_predictor, stored_run
from segcompass.provenance.new_folder import new_folder

MARGIN = 8 << 20
"""Bytes that an explanation takes beside its pictures' pixels, at most about."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    add_question(parser)
    add_run(parser)
    add_whole_number(parser, "--concepts", 1, 64, "concepts that are listed of a slot", default=LISTED)
    donor = "a picture, and what is asked of it, whose codes stand in for the sample's own; those of the run if left out"
    parser.add_argument("--donor", nargs=2, action="append", default=[], metavar=("IMAGE", "INSTRUCTION"), help=donor)
    parser.add_argument("--html", action="store_true", help="write one self-contained page too")
    add_new_folder(parser, "explanation")


def run(arguments: argparse.Namespace) -> int:
    """Writes `explanation.json`, `explanation.png` and perhaps `explanation.html`, and prints what they say."""
    checked_text(arguments.instruction, None, "INSTRUCTION")
    image = read_image(arguments.image)
    with new_folder(arguments.out, needed=4 * image.nbytes + MARGIN) as folder:
        stored = stored_run(arguments.model)
        donors = donors_for(image, stored, arguments.donor)
        predictor = load_predictor(stored, arguments.threshold, arguments.device, arguments.dtype)
        concept_tokens(predictor.interface_model)
        names = names_of(stored.names, predictor.interface_model.dictionary.features)
        answer = answered(predictor, image, arguments.instruction)
        whole = answer.prediction.status == "ok"
        found = explain(predictor, answer, donors, arguments.concepts) if whole else unexplained(predictor, answer)
        text = json.dumps(explanation_json(found, names, stored.described()), indent=1) + "\n"
        (folder / "explanation.json").write_text(text, encoding="utf-8")
        if whole:
            save(explanation_figure(found, names), folder / "explanation.png")
        if arguments.html:
            (folder / "explanation.html").write_text(page(found, names, stored.name), encoding="utf-8")
    _print(found, names)
    print(f"files in {arguments.out}")
    return 0


def _print(found: Explanation, names: ConceptNames) -> None:
    answer = found.answer
    if answer.reading.unknown:
        print(f"words that the model does not know, and read as unknown: {', '.join(map(repr, answer.reading.unknown))}")
    print(f"thought: {shown(answer.thought) or '(none)'}")
    print(answer.decision)
    for slot in found.slots:
        _print_slot(slot, names)
    if found.traced:
        last, errors = found.traced[-1], found.errors()
        print(f"traceability: without the {last.removed} greatest contributors the score falls by {last.observed:.2f}")
        print(f"  predicted by integrated gradients {last.predicted_integrated:.2f}, off by {errors['integrated']:.0%} of the score")
        print(f"  predicted by gradient times activation {last.predicted:.2f}, off by {errors['gradient']:.0%}")
        print(f"  the mask keeps an IoU of {last.iou_after:.2f} with itself")


def _print_slot(slot: Slot, names: ConceptNames) -> None:
    print(f"slot {slot.slot}: confidence {slot.confidence:.2f}, score {slot.score:.2f}, {slot.active} active concepts")
    print("  concept  contribution  integrated  when removed: score   IoU  name")
    for one in slot.carrying:
        figures = f"{one.concept:9}  {one.contribution:+12.2f}  {one.integrated:+10.2f}  {-one.score_fall:+19.2f}  {one.iou_after:4.2f}"
        print(f"{figures}  {shown(names.of(one.concept).title)}")
    alike = slot.rank_correlations
    print(f"  rank correlation with the falls: contribution {alike['gradient']:.2f}, integrated {alike['integrated']:.2f}")
    if slot.paths:
        shares = slot.paths.shares().items()
        text = ", ".join(f"{PATH_NAMES[path]} {'-' if share is None else f'{round(share, 2) + 0.0:.0%}'}" for path, share in shares)
        print(f"  paths: {text}")
