"""Which policy the stages of a study read: the backbone's own, or the warm-started one where the study has a warm start.

`embed_images` alone reads none, and takes the SAMs from where they come first.
"""

from segcompass.study.study import Study

POLICY_READERS = (
    "cache_activations",
    "train_sae",
    "label_tokens",
    "cache_answers",
    "train_interface",
    "evaluate_interface",
    "train_joint",
    "evaluate_joint",
    "intervene",
    "exchange",
    "make_atlas",
)
"""Stages that are given a backbone with its policy; `train_sae` only where there is no cache."""


def policy_stage(study: Study) -> str:
    """The stage whose artefact `POLICY_READERS` take as the backbone."""
    return "warm_start" if study.warm_start else "train_backbone"


def policy_key(study: Study, stage: str) -> dict[str, str]:
    """The key by which a job that reads a warm-started policy is stale once its study has a warm start, or has none any more.

    Without one no job has a key of it, as if there were no such section.
    """
    reads = stage in POLICY_READERS and (stage != "train_sae" or study.activations.on_the_fly)
    return {"policy": "warm_start"} if study.warm_start and reads else {}
