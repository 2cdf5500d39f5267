"""Base class of every section of a study file: typed, frozen, and closed to unknown keys."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of keys in `params/<study>.yaml`. A study file is complete: a field has a default only where its words say that a study may
    leave it out."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)
