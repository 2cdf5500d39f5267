"""Hasty answers: what names its target at once, and is easily taken in by what is striking.

A planted weakness, for the embedded backbone only. Real policies answer from salience where they do not reason: a hasty answer mistakes
the target for its decoy, the largest object that shares its colour or shape. Where the target is small and the decoy large, the decoy is
tempting, and hasty answers name it more often than not. Several targets are cut down to the large ones, and an expression that fits nothing
is given the object that it nearly fits. A wrong thought so always means other pixels, and considering the request first mends it, which is
what reward can teach (`segcompass/backbone/training/habits.py`).
"""

from dataclasses import dataclass

from segcompass.world.instructions import Expression
from segcompass.world.scene import Scene, SceneObject
from segcompass.world.thoughts import describe, thought


@dataclass(frozen=True)
class HastyAnswer:
    """The two hasty answers to an instruction."""

    right: str
    """Thought that names the targets and nothing before them."""
    wrong: str
    """The same with what they are mistaken for."""
    tempting: bool
    """Whether the mistake is what a glance at the scene suggests."""


def hasty_answer(scene: Scene, expression: Expression) -> HastyAnswer:
    """The hasty answers to an expression about a scene of at least two objects."""
    targets = [scene.objects[index] for index in expression.targets]
    mistaken, tempting = _mistaken(scene, targets, [scene.objects[index] for index in expression.near])
    return HastyAnswer(thought(scene, targets), thought(scene, mistaken), tempting)


def _mistaken(scene: Scene, targets: list[SceneObject], near: list[SceneObject]) -> tuple[list[SceneObject], bool]:
    """What is named in the targets' stead, and whether that is tempting."""
    if not targets:
        return near, near[0].size == "large"
    if len(targets) > 1:
        large = [item for item in targets if item.size == "large"]
        if large and len(large) < len(targets):
            return large, True
        return sorted(targets, key=lambda item: -item.radius)[:-1], False
    (target,) = targets
    # One that is described alike, told apart by a relation, would be right by its words.
    others = [item for item in scene.objects if describe(scene, item) != describe(scene, target)]
    alike = [item for item in others if item.colour == target.colour or item.shape == target.shape]
    decoy = max(alike or others, key=lambda item: item.radius)
    return [decoy], bool(alike) and decoy.size == "large" and target.size == "small"
