"""The thoughts that a warm start teaches: gold ones where the data have them, else plain sentences around the benchmark's own phrase.

The sentences say what the annotation says and no more: the phrase, and whether it asks for nothing, one object or several. What objects
look like and where they are, no annotation says; a sentence that made it up would teach the policy to make things up. The phrase comes
last, so a thought that is longer than one may be loses words of the phrase alone.
"""

import numpy as np

from segcompass.datasets.samples import Sample

NONE = (
    "Nothing in the picture is what the request asks for: {phrase}",
    "No object in the picture fits the request: {phrase}",
    "I look for what is asked for and it is not in the picture: {phrase}",
)
ONE = (
    "One object in the picture is what the request asks for: {phrase}",
    "A single object in the picture fits the request: {phrase}",
    "I look for what is asked for and it is one object: {phrase}",
)
SEVERAL = (
    "{count} objects in the picture are what the request asks for: {phrase}",
    "{count} objects in the picture fit the request: {phrase}",
    "I look for what is asked for and it is {count} objects: {phrase}",
)
"""Wordings by the number of objects that are annotated."""


def phrase_thought(sample: Sample, generator: np.random.Generator) -> str:
    """A thought composed of what a benchmark says of a sample: its phrase, and how many objects are annotated."""
    count = 0 if sample.no_target else len(sample.instances)
    wordings = (NONE, ONE)[count] if count < 2 else SEVERAL
    return wordings[generator.integers(len(wordings))].format(phrase=" ".join(sample.text.split()), count=count)
