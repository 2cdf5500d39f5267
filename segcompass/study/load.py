"""Reads and checks a study file; every fault becomes one sentence that names file, key and remedy."""

import difflib
import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from segcompass.errors import InputError
from segcompass.study.study import Study

Model = TypeVar("Model", bound=BaseModel)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice, which YAML would otherwise drop silently."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key `{key}` is written twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load_study(path: Path) -> Study:
    """The study that a YAML file describes.

    Raises:
        InputError: the file is missing, is not YAML, or breaks a rule of the study's types.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror}); name a study file below params/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(path, "", f"is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(raw, dict):
        raise InputError(path, "", "must hold the sections of a study as a mapping")
    study = validated(Study, raw, path)
    if study.study != path.stem:
        raise InputError(path, "study", f"is `{study.study}` but the file is named `{path.stem}`; make them equal")
    return study


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
    except (TypeError, ValueError) as error:
        raise InputError(path, "", f"holds a value that a study cannot have ({error})") from error


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
