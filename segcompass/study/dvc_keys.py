"""Which keys of a study each stage reads, found by changing one key after another, and written into `dvc.yaml`.

`python -m segcompass.study.dvc_keys` rewrites the keys under `params` of every stage of `dvc.yaml`; `--check` only says whether they are
current. They stand there once more because DVC decides by them what to redo; `segcompass.study.jobs` decides what a job receives. A key is
read by a stage if changing it changes the stage's jobs, or what one of them receives, in any study of `params/`, as it is or with its
switches turned over: with `activations.on_the_fly`, dictionaries read what they otherwise do not.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from segcompass.errors import InputError
from segcompass.study.experiments import VariantSettings
from segcompass.study.jobs import ARTEFACTS, Job, all_jobs, stage_params
from segcompass.study.load import load_study
from segcompass.study.section import Section
from segcompass.study.shard_jobs import RULE
from segcompass.study.study import Study

DVC_FILE = Path("dvc.yaml")
WHOLE_FILE = "write_summary"
"""The stage that reads every key: it compares each artefact with what the study makes of it."""
Key = tuple[str, ...]


def stage_keys(studies: Iterable[Study]) -> dict[str, set[Key]]:
    """Stage -> the keys that it reads; a union of models, a mapping or a list is one key."""
    found: dict[str, set[Key]] = {stage: set() for stage in ARTEFACTS}
    keys = list(_keys(Study))
    for study in map(_with_two_seeds, studies):
        turned = study
        for key in keys:
            turned = _changed(turned, key) if isinstance(_value(study, key), bool) else turned
        for context in (study, turned):
            jobs = all_jobs(context)
            before = _asked(context, jobs)
            for key in keys:
                after = _asked(_changed(context, key), jobs)
                for stage, keys_read in found.items():
                    if before.get(stage) != after.get(stage):
                        keys_read.add(key)
    return found


def dvc_keys(keys: set[Key], section: type[Section] = Study, prefix: Key = ()) -> list[str]:
    """Dotted names for DVC; a section that is read as a whole stands under its own name."""
    names = []
    for name, kind in _fields(section):
        own = (*prefix, name)
        inner = set(_keys(kind, own)) if kind else {own}
        names += [".".join(own)] if inner <= keys else dvc_keys(keys, kind, own) if kind else []
    return names


def with_current_keys(text: str, found: dict[str, set[Key]]) -> str:
    """The text of `dvc.yaml` with the keys of every stage; a stage's rules are those that its command allows."""

    def rewritten(stage: re.Match[str]) -> str:
        rules = [rule.removesuffix(RULE) for rule in re.findall(r"--allowed-rules ([\w ]+) --", stage[0])[0].split()]
        names = ", ".join(dvc_keys(set().union(*(found[rule] for rule in rules))))
        line = "" if WHOLE_FILE in rules else f" [{names}]"
        return re.sub(r"(?m)^( *- params/\$\{study\}\.yaml:).*$", lambda place: f"{place[1]}{line}", stage[0])

    head, stages, rest = re.split(r"(?m)^(?=stages:|plots:)", text)
    return head + re.sub(r"(?m)^  \w+:\n(?:    .*\n|\n)+", rewritten, stages) + rest


def _fields(section: type[Section]) -> Iterator[tuple[str, type[Section] | None]]:
    """Name of each field, with its section where it is one."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        yield name, kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _keys(section: type[Section], prefix: Key = ()) -> Iterator[Key]:
    for name, kind in _fields(section):
        if kind:
            yield from _keys(kind, (*prefix, name))
        else:
            yield (*prefix, name)


def _asked(study: Study, jobs: list[Job]) -> dict[str, dict[str, Any]]:
    """Stage -> artefact -> what its job receives, or why it cannot be said: a name that was changed is looked up in vain.

    Where not even the jobs can be listed they are `jobs`, those of the study as it was.
    """
    found: dict[str, dict[str, Any]] = {}
    with suppress(KeyError, ValueError):
        jobs = all_jobs(study)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # about changed values that are none of the choices
        raw = study.model_dump(mode="json")
        for job in jobs:
            try:
                params: Any = stage_params(study, job, raw)
            except (KeyError, ValueError) as error:
                params = repr(error)
            found.setdefault(job.stage, {})[str(job.artefact(study.study))] = params
    return found


def _with_two_seeds(study: Study) -> Study:
    """The study with two seeds a variant, of which one is edited: jobs of other seeds receive the same keys, and those take their time."""
    raw = study.model_dump()
    for experiment in raw["experiments"].values():
        for variant in experiment["variants"].values():
            del variant["seeds"][2:]
    raw["analysis"]["edited_seeds"] = 1
    return Study.model_validate(raw)


def _value(study: Study, key: Key) -> Any:
    value: Any = study
    for name in key:
        value = getattr(value, name)
    return value


def _changed(section: Any, key: Key) -> Any:
    """A copy of a section, unchecked, with everything below `key` changed."""
    name, *rest = key
    value = getattr(section, name)
    return section.model_copy(update={name: _changed(value, tuple(rest)) if rest else _other(value)})


def _other(value: Any) -> Any:
    """A value of the same form, every part of it another; names that the study looks up stay: mappings gain an entry, lists lose one."""
    if isinstance(value, VariantSettings):  # another key than the declared ones would be none of the section's
        return value.model_copy(
            update={"seeds": _other(value.seeds), "changes": {key: _other(part) for key, part in value.changes.items()}}
        )
    if isinstance(value, Section):
        return value.model_copy(update={name: _other(getattr(value, name)) for name in type(value).model_fields})
    if isinstance(value, dict):
        return {f"{key}_added": part for key, part in list(value.items())[:1]} | {key: _other(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [part if isinstance(part, str) else _other(part) for part in value[:-1]]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return f"{value}_changed"


def main(argv: list[str] | None = None) -> int:
    """Rewrites or checks `dvc.yaml`; exit code 1 if `--check` finds it out of date."""
    parser = argparse.ArgumentParser(prog="python -m segcompass.study.dvc_keys", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing")
    given = parser.parse_args(argv)
    try:
        studies = [load_study(path) for path in sorted(Path("params").glob("*.yaml"))]
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    text = DVC_FILE.read_text(encoding="utf-8")
    current = with_current_keys(text, stage_keys(studies))
    if given.check:
        return int(current != text)
    DVC_FILE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
