"""Dictionaries of a study that differ from the reference's by their seed alone, or by how long they were trained, and the variants that
read them: what the audit of metrics repeats a measurement on."""

from typing import TypedDict

from segcompass.study.concepts import Trained
from segcompass.study.study import Study


class Repeats(TypedDict):
    """Parallel lists, the reference and its dictionary among them; fewer than two dictionaries repeat nothing."""

    saes: list[str]
    variants: list[str | None]
    """The variant that differs from the reference by this dictionary alone; None where the study has none."""


def other_seeds(study: Study) -> Repeats:
    """The reference's dictionary and those that differ from it by `seed` alone, the reference's first."""
    own, alike = _own(study), _alike(study, "seed")
    return _read(study, [own, *(name for name in alike if name != own)])


def checkpoints(study: Study) -> Repeats:
    """Those that differ from the reference's dictionary by `stop_after` alone, by their steps, and it as the last."""
    alike = _alike(study, "stop_after")
    return _read(study, sorted(alike, key=lambda name: int(alike[name].stop_after or study.sae_training.steps)))


def _own(study: Study) -> str:
    return study.interface_variant(study.experiments.interface.reference).model.sae


def _alike(study: Study, key: str) -> dict[str, Trained]:
    """The reference's dictionary, and those of `saes` that are it but for one key."""
    own = study.saes.get(_own(study))
    if not isinstance(own, Trained):
        return {}
    trained = ((name, one) for name, one in study.saes.items() if isinstance(one, Trained))
    return {name: one for name, one in trained if one.model_copy(update={key: getattr(own, key)}) == own}


def _read(study: Study, saes: list[str]) -> Repeats:
    experiment = study.experiments.interface
    readers = {own: experiment.reference} if (own := _own(study)) in saes else {}
    for name, variant in experiment.variants.items():
        if set(variant.changes) == {"model.sae"}:
            readers.setdefault(str(variant.changes["model.sae"]), name)
    return {"saes": saes, "variants": [readers.get(name) for name in saes]}
