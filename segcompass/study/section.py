"""Base class of every section of a study file: typed, frozen, and closed to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of keys in `params/<study>.yaml`.

    No field but `activations.corpus` and `warm_start` has a default: a study file is complete.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
