"""What a job gathers from shards: whether they are all parts of its own work, and what its record says of them.

Shards are deleted once they are gathered. So the record names as inputs what they were made from, not them; it is that of a job that did
the work alone, but for the list `shards`, one entry a shard: what it took, on which machine, and by which versions of the libraries.
"""

from pathlib import Path
from typing import Any

from segcompass.errors import InputError
from segcompass.study.shards import WILDCARD, Shard

FLAG = "shards"
HELP = "optional: all shards of the job, in their order; they are gathered, and no model runs"
KEPT = ("seconds", "rows", "facts", "versions", "commit", "processor")
"""What is recorded of each shard."""
REMEDY = "delete it and start the pipeline again, which makes it anew"


def check_shards(folders: list[Path], shards: list[dict[str, Any]], record: dict[str, Any]) -> None:
    """Compares the records of shards with that of the job that gathers them.

    Args:
        folders: the shards' artefacts, in their order.
        shards: their records.
        record: stage, wildcards, params, code and inputs of the job.

    Raises:
        InputError: one is not the part of this job's work that its place asks for.
    """
    for number, (folder, shard) in enumerate(zip(folders, shards, strict=True), 1):
        wanted = record | {"wildcards": record["wildcards"] | {WILDCARD: Shard(number, len(folders)).name}}
        for key in ("stage", "wildcards", "params", "code", "inputs"):
            if shard.get(key) != wanted[key]:
                raise InputError(folder / "run.json", key, f"is not that of shard {number} of {len(folders)} of this job; {REMEDY}")


def recorded_shards(shards: list[dict[str, Any]]) -> dict[str, Any]:
    """What the gathering job's record says of its shards: them, and the rules that stood when the work on every one began."""
    rules = dict(set.intersection(*(set(shard.get("rules", {}).items()) for shard in shards)))
    return {"shards": [{key: shard.get(key) for key in KEPT} for shard in shards], "rules": dict(sorted(rules.items()))}
