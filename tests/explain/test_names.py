"""What concepts are called."""

from pathlib import Path

import pytest

from segcompass.errors import InputError
from segcompass.explain.names import ConceptNames, names_of
from tests.explain.conftest import FEATURES, concept_tables


@pytest.fixture
def names(tmp_path: Path) -> ConceptNames:
    concept_tables(tmp_path / "topk")
    return names_of(tmp_path / "topk", FEATURES)


def test_names_come_from_the_tables_of_the_trained_dictionary(names: ConceptNames) -> None:
    assert names.of(3).title == "red (colour, AUROC 0.97)"
    assert names.of(5).title == "words: red, blue"
    assert names.of(7).title == "words: ring; at best ring (shape, AUROC 0.55)", "an AUROC of 0.55 is no name"
    assert names.of(9).title == "fires on nothing that was labelled"


def test_a_value_stands_for_what_sees_it_and_what_says_it(names: ConceptNames) -> None:
    assert names.find("red", "--set") == [3, 5] and names.find(" RED ", "--set") == [3, 5]
    assert names.find("ring", "--set") == [7] and names.find("12", "--set") == [12]


@pytest.mark.parametrize(
    ("text", "said"), [("64", "0 to 63"), ("9" * 5000, "0 to 63"), ("rde", "try red"), ("²", "no concept"), ("-1", "no concept")]
)
def test_what_names_no_concept_is_one_sentence(names: ConceptNames, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        names.find(text, "--set")
    assert "\n" not in str(error.value) and len(str(error.value)) < 300


def test_shipped_names_are_the_same(names: ConceptNames, tmp_path: Path) -> None:
    names.carriers["colour"] = [5, 3]
    names.save(tmp_path)
    assert names_of(tmp_path, FEATURES) == names
    with pytest.raises(InputError, match="another dictionary"):
        names_of(tmp_path, FEATURES + 1)
    (tmp_path / "concepts.json").write_text("[]")
    with pytest.raises(InputError, match="no names"):
        names_of(tmp_path, FEATURES)


def test_without_tables_concepts_have_numbers_alone(tmp_path: Path) -> None:
    assert names_of(tmp_path / "none", FEATURES) == ConceptNames(FEATURES) and names_of(None, FEATURES).find("63", "--set") == [63]
