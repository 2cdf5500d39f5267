"""The jobs that a job's work is divided among, and where their artefacts lie.

A shard has its job's stage, keys and code, and one wildcard more. What gathers them is the job itself, with the keys and inputs that it has
without shards: so their number is no part of what an artefact is, and artefacts stay what they are when it changes.
"""

from dataclasses import dataclass
from pathlib import Path

from segcompass.study.jobs import ARTEFACTS, Job
from segcompass.study.shards import SHARDED, WILDCARD, Shard
from segcompass.study.study import Study

FOLDER = "shards"
"""Of a study's results, where shards lie until they are gathered."""
RULE = "_shard"
"""What a stage's name ends with in the name of the rule that makes its shards."""


@dataclass(frozen=True)
class ShardJob(Job):
    """One of the jobs that a job's work is divided among; its last wildcard is the shard's name."""

    @property
    def whole(self) -> Job:
        """The job whose work is divided."""
        return Job(self.stage, self.wildcards[:-1])

    def artefact(self, study: str) -> Path:
        """See `Job.artefact`."""
        return Path(shard_pattern(self.stage).format(study=study, **dict(self.wildcards)))


def shard_pattern(stage: str) -> str:
    """Path of a shard's artefact, as `ARTEFACTS` has those of the jobs."""
    study = "results/{study}/"
    return f"{study}{FOLDER}/{ARTEFACTS[stage].removeprefix(study)}/{{{WILDCARD}}}"


def shards_of(job: Job, number: int) -> list[ShardJob]:
    """The shards of a job in their order; none where it does its work alone."""
    names = [Shard(place + 1, number).name for place in range(number)] if number > 1 else []
    return [ShardJob(job.stage, (*job.wildcards, (WILDCARD, name))) for name in names]


def number_of_shards(study: Study, job: Job) -> int:
    """Into how many parts the study divides a job's work."""
    return int(getattr(study.shards, job.stage)) if job.stage in SHARDED else 1
