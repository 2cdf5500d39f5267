"""What the demo says: HTML in which every text of strangers is escaped and kept in its own direction, and plain labels."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from segcompass.demo.questions import LEVERS, Edited, Lever, Question
from segcompass.errors import shown
from segcompass.explain.names import ConceptNames

TEMPLATES = Environment(autoescape=True, loader=FileSystemLoader(Path(__file__).parent), trim_blocks=True, lstrip_blocks=True)
ISOLATED = "\u2068{}\u2069"
"""A text between marks that end its direction with it, for labels, which hold no markup."""


def answer_text(question: Question) -> str:
    """Thought, decision and slots."""
    return TEMPLATES.get_template("answer.html.j2").render(answer=question.answer)


def edit_text(edited: Edited, names: ConceptNames) -> str:
    """What an edit did: masks, score predicted and observed, slots, sham, and the concepts whose codes changed."""
    changed = [(concept, title(concept, names), sums) for concept, sums in edited.codes.changed()]
    return TEMPLATES.get_template("edit.html.j2").render(outcome=edited.outcome, changed=changed, most=LEVERS)


def heading(about: str, run: str) -> str:
    """What the page is, and which run answers."""
    text = "<h1>SegCompass</h1><p>{{ about }} The run that answers: <bdi>{{ run }}</bdi>.</p>"
    return TEMPLATES.from_string(text).render(about=about, run=run)


def alert(problem: str) -> str:
    """A sentence about what went wrong."""
    return TEMPLATES.from_string('<p role="alert" class="alert"><bdi>{{ problem }}</bdi></p>').render(problem=problem)


def lever_label(lever: Lever, names: ConceptNames) -> str:
    """Concept, name and what its removal does, as plain text."""
    called = title(lever.concept, names)
    return f"Concept {lever.concept}{called and f', {ISOLATED.format(shown(called))}'}; removed: score {-lever.fall:+.2f}"


def title(concept: int, names: ConceptNames) -> str:
    """What a concept is called; empty where no concept of the run has been scored, so that nothing is known of any."""
    return names.of(concept).title if names.names else ""
