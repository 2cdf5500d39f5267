"""One image and one instruction as a trained run answers them, laid out for the causal battery: units to edit, slots that respond.

The answer is thought and segmented by the same calls as `segcompass predict` makes, and the slots are those that its confidences choose, or
the most confident one where none is. Everything that is edited afterwards leaves the words and these slots as they are.

Shape letters: T tokens, F concepts, A active concepts, R rows (slots), K slots, d language width, q query width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segcompass.backbone.instruction import TOO_LONG, UNKNOWN, InstructionReading
from segcompass.backbone.interface import Image
from segcompass.causal.chunk import Chunk
from segcompass.causal.edits import SampleCodes, codes_of_samples
from segcompass.causal.units import ConceptUnits
from segcompass.causal.watched import Watched
from segcompass.errors import InputError
from segcompass.joint.inference import Prediction, Predictor, Thoughts, leading_slots
from segcompass.joint.model import InterfaceModel
from segcompass.joint.reading import Shown
from segcompass.joint.tokens import ConceptTokens
from segcompass.sae.sparse_tokens import SparseTokens


@dataclass(frozen=True)
class Answered:
    """What a run answers, and what it was asked."""

    image: Image
    instruction: str
    reading: InstructionReading
    text: str
    """The answer, special tokens included."""
    thoughts: Thoughts
    """Of this one sample."""
    prediction: Prediction
    slots: list[int]
    """Those that are looked at, whatever the decision was."""

    @property
    def thought(self) -> str:
        """The words of the thought."""
        return self.text.partition("</think>")[0].replace("<think>", "").strip()

    @property
    def decision(self) -> str:
        """What the run decided, in words."""
        if self.prediction.status != "ok":
            return f"the answer breaks the form ({self.prediction.status}), so nothing is predicted"
        if self.prediction.no_target:
            return "no target"
        return f"{int(self.prediction.mask.sum())} of {self.prediction.mask.size} pixels"


def answered(
    predictor: Predictor,
    image: Image,
    instruction: str,
    thought: str | None = None,
    field: str = "INSTRUCTION",
    thought_flag: str = "--thought",
) -> Answered:
    """Asks a run.

    Args:
        predictor: the run.
        image: uint8 [height, width, 3].
        instruction: what to segment.
        thought: words that are read in place of the run's own.
        field: what the user calls the instruction.
        thought_flag: and the thought.

    Raises:
        InputError: instruction or thought cannot be read, or what comes out is not finite.
    """
    (reading,) = predictor.readings([image], [instruction])
    refuse_unreadable(reading, field)
    if thought is not None:
        tokens = len(predictor.model.vlm.answer_ids(thought))
        if tokens > predictor.longest:
            problem = f"makes an answer of {tokens} tokens, and the model has room for {predictor.longest}; shorten it"
            raise InputError(None, thought_flag, problem)
    thoughts = predictor.think([image], [instruction]) if thought is None else predictor.read([image], [instruction], [thought])
    with torch.no_grad():
        (prediction,) = predictor.predictions(thoughts, predictor.segment(thoughts))
    return Answered(image, instruction, reading, thoughts.texts[0], thoughts, prediction, leading_slots(prediction))


def refuse_unreadable(reading: InstructionReading, field: str = "INSTRUCTION") -> None:
    """Refuses what the model would answer without having read it.

    Raises:
        InputError: the instruction is longer than the model reads, or the model knows no word of it.
    """
    if reading.status == TOO_LONG:
        problem = f"has {reading.tokens} tokens, and the model has room for {reading.room}; shorten it"
        raise InputError(None, field, problem)
    if reading.status == UNKNOWN:
        words = ", ".join(map(repr, reading.unknown)) or "nothing"
        raise InputError(None, field, f"has no word that the model knows ({words[:200]}); use words that it was trained on")


def concept_tokens(model: InterfaceModel) -> ConceptTokens:
    """What the run's interface makes of concepts.

    Raises:
        InputError: it reads no concepts.
    """
    tokens = model.interface.codebook.tokens
    if not isinstance(tokens, ConceptTokens):
        problem = f"reads {model.settings.readout}, so no concept carries its masks; name a run whose interface.model.readout is `concepts`"
        raise InputError(None, "--model", problem)
    return tokens


@torch.no_grad()
def concept_chunk(model: InterfaceModel, answer: Answered, slots: Sequence[int] | None = None) -> Chunk:
    """The sample with its active concepts as units and the answer's slots, or others, as rows; its target is its own mask.

    Raises:
        InputError: the run reads no concepts.
    """
    tokens = concept_tokens(model)
    thoughts = answer.thoughts
    reading = model.seen(thoughts.reading)
    codes = sample_codes(model, thoughts)
    references = model.interface.reference_centring(reading.reference_states[:, : model.interface.slots])
    shown = Shown((codes.codes @ tokens.rows[codes.concepts])[None], reading.read, reading.thought, references)
    watched = Watched(model, thoughts.embeddings, thoughts.valid, thoughts.sizes)
    whole = watched.fix([answer.slots if slots is None else slots], shown)
    units = ConceptUnits(tokens.rows, [codes], watched.owner.tolist(), whole)
    return Chunk(units, watched, watched.unions(watched.before), [(0,)])


def sample_codes(model: InterfaceModel, thoughts: Thoughts) -> SampleCodes:
    """The codes of one sample that the interface is shown."""
    reading = model.seen(thoughts.reading)
    sparse = reading.codes
    if isinstance(sparse, Tensor):
        sparse = SparseTokens.of(sparse.flatten(0, 1))
    (codes,) = codes_of_samples(sparse, reading.token_types, concept_tokens(model).threshold)
    return codes
