"""Reads and checks a study file; every fault becomes one sentence that names file, key and remedy.

Files are read as YAML 1.2 by the library that DVC reads and writes them with, so that both see the same values: `1e-05`, as
`dvc exp run -S` writes a small number, is a number. A key written twice is refused, not dropped.
"""

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from segcompass.errors import InputError
from segcompass.study.study import Study

Model = TypeVar("Model", bound=BaseModel)


def load_study(path: Path) -> Study:
    """The study that a YAML file describes.

    Raises:
        InputError: the file is missing, is not YAML, or breaks a rule of the study's types.
    """
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise InputError(path, "", "must hold the sections of a study as a mapping")
    study = validated(Study, raw, path)
    if study.study != path.stem:
        raise InputError(path, "study", f"is `{study.study}` but the file is named `{path.stem}`; make them equal")
    return study


def read_yaml(path: Path) -> Any:
    """What a YAML 1.2 file holds.

    Raises:
        InputError: the file is missing or is not YAML.
    """
    try:
        # A byte-order mark, as editors on Windows write it, is no part of the first key.
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); name a study file below params/") from error
    except DuplicateKeyError as error:
        key = str(error.problem).split('"')[1]
        raise InputError(path, _place(error), f"key `{key}` is written twice; keep one of them") from error
    except MarkedYAMLError as error:
        raise InputError(path, _place(error), f"is not valid YAML: {' '.join(str(error.problem).split())}") from error
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(path, "", f"is not valid YAML: {' '.join(str(error).split())}") from error


def _place(error: MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f"line {mark.line + 1}" if mark else ""


def validated(model: type[Model], raw: Any, path: Path) -> Model:
    """`raw` as a value of `model`, the first fault turned into a sentence."""
    try:
        return model.model_validate_json(_json(raw, path))
    except ValidationError as error:
        # A misspelt key is both unknown and missing; the first says more.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        raise InputError(path, *_sentence(model, faults[0], raw)) from error


def _json(raw: Any, path: Path) -> str:
    try:
        return json.dumps(raw, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(path, "", f"holds a value that a study cannot have ({error}); write numbers, words, lists and sections") from error


def _sentence(model: type[BaseModel], fault: Any, raw: Any) -> tuple[str, str]:
    location = [str(part) for part in fault["loc"]]
    field = ".".join(_keys_of_the_file(fault["loc"], raw))
    if fault["type"] == "extra_forbidden":
        names = _known_keys(model, location[:-1])
        close = difflib.get_close_matches(location[-1], names, n=1, cutoff=0.0)
        return field, f"unknown key; did you mean `{close[0]}`" if close else "unknown key; remove it"
    if fault["type"] == "missing":
        return field, "missing; a study file is complete, so add this key"
    if fault["type"] == "value_error":
        key, _, problem = str(fault["ctx"]["error"]).partition(": ")
        return key, problem
    return field, f"{fault['msg'][0].lower()}{fault['msg'][1:]}, but the file says {fault['input']!r}"


def _keys_of_the_file(location: tuple[str | int, ...], raw: Any) -> list[str]:
    """The location without the tags of discriminated unions, which are no keys of the file."""
    keys, node = [], raw
    for place, part in enumerate(location):
        children = dict(enumerate(node)) if isinstance(node, list) else node if isinstance(node, dict) else {}
        if part in children:
            node = children[part]
        elif place < len(location) - 1:
            continue
        keys.append(str(part))
    return keys


def _known_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    node: dict[str, Any] = schema

    def resolved(part: dict[str, Any]) -> dict[str, Any]:
        return definitions[part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part

    for key in location:
        node = resolved(node)
        if key in node.get("properties", {}):
            node = node["properties"][key]
        elif key in (mapping := node.get("discriminator", {}).get("mapping", {})):
            node = {"$ref": mapping[key]}
        elif isinstance(extra := node.get("additionalProperties"), dict):
            node = extra
    return list(resolved(node).get("properties", {}))
