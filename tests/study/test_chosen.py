"""The study that a run builds is named in one way, and whatever would be ignored is refused."""

from pathlib import Path

import pytest

from segcompass.errors import InputError
from segcompass.study.chosen import chosen_study

SMOKE = Path("params/smoke.yaml")
LAUNCH = Path("workflow/accelerate/launch_llava.yaml")


@pytest.mark.parametrize(
    ("given", "files", "name"),
    [
        ({}, [], "default"),
        ({"study": "smoke"}, [], "smoke"),
        ({}, [SMOKE], "smoke"),
        ({}, [SMOKE.absolute(), LAUNCH], "smoke"),
        ({"study": "smoke"}, [SMOKE], "smoke"),
        ({"study": "smoke", "launch": {}}, [LAUNCH], "smoke"),
        ({}, [LAUNCH], "default"),
    ],
)
def test_the_named_study_is_chosen(given: dict, files: list[Path], name: str) -> None:
    assert chosen_study(given, files) == name


@pytest.mark.parametrize(
    ("given", "files", "words"),
    [
        ({"threads": 2}, [], "--config threads: is not read"),
        ({"study": "nope"}, [], "does not exist; there are confirmation, default"),
        ({"study": "../default"}, [], "no name of a study"),
        ({"study": "default"}, [SMOKE], "is both `default` and `smoke`"),
        ({}, [SMOKE, Path("params/default.yaml")], "is both"),
        ({}, [Path("params/none.yaml")], "cannot be read"),
    ],
)
def test_what_would_be_ignored_is_refused(given: dict, files: list[Path], words: str) -> None:
    with pytest.raises(InputError, match=words):
        chosen_study(given, files)


@pytest.mark.parametrize("content", ["smoke", "sections"])
def test_a_study_that_lies_elsewhere_is_refused(tmp_path: Path, content: str) -> None:
    """Its keys would be ignored: jobs read the file of that name in params/."""
    file = tmp_path / "mine.yaml"
    file.write_text(SMOKE.read_text() if content == "smoke" else "joint: {steps: 3}\n")
    with pytest.raises(InputError, match="is not read from here"):
        chosen_study({}, [file])
