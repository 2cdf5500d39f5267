"""Nothing that is not a number passes: narrowing, training, publishing and loading each name the value and its place."""

import errno
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import nn

from segcompass.activations.cache import CacheReader, CacheWriter
from segcompass.backbone.build import save_embedded
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.concepts.labelled import load_labelled
from segcompass.errors import InputError
from segcompass.joint.cached_answers import Answered, AnswersWriter, CachedAnswers
from segcompass.joint.cached_images import CachedImages, ImagesWriter
from segcompass.joint.checkpoint import save_run
from segcompass.joint.inference import Predictor
from segcompass.numerics.finite import check_step, narrowed, save_finite, unfinite
from segcompass.optimisation.phase import run_phase
from segcompass.provenance.stage import Stage, run_stage
from segcompass.sae.checkpoint import load_dictionary, save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.sae.training import train
from tests.concepts.drawn import drawn_tokens
from tests.sae.planted import SETTINGS
from tests.tiny import micro_study, pictures, tiny_joint, tiny_sam, tiny_vlm

NAN, INF = math.nan, math.inf
OWNER = Answered("s0", "refcoco", "train", "i.png", "", "ok")


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_the_first_value_is_found_with_its_place(value: float) -> None:
    tensor = torch.zeros(2, 3)
    assert unfinite(tensor) is None and unfinite(torch.ones(2, dtype=torch.int64)) is None
    tensor[1, 2], tensor[1, 0] = 7.0, value
    place, found = unfinite(tensor)
    assert place == (1, 0) and (found == value or (math.isnan(value) and math.isnan(found)))


def test_narrowing_names_what_the_type_cannot_hold() -> None:
    values = torch.tensor([[1.0, 2.0], [3.0, -70000.0]], dtype=torch.bfloat16)
    with pytest.raises(InputError, match=r"activations.dtype: is float16, which cannot hold -70144, row 1; set it to bfloat16 or float32"):
        narrowed(values, torch.float16, lambda place: f"row {place[0]}")
    for dtype in (torch.bfloat16, torch.float32):
        assert torch.equal(narrowed(values, dtype, str), values.to(dtype))
    values[0, 1] = NAN
    with pytest.raises(InputError, match=r"runtime.dtype: is bfloat16, and gives nan as row 0; compute in float32"):
        narrowed(values, torch.float32, lambda place: f"row {place[0]}")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"b: is inf at \[1\]; nothing of that kind is published"):
        save_finite({"a": torch.ones(2), "b": torch.tensor([1.0, INF])}, path)
    assert not path.exists()
    save_finite({"a": torch.ones(2)}, path)
    assert torch.equal(load_file(path)["a"], torch.ones(2))

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("segcompass.numerics.finite.save_file", full)
    with pytest.raises(OSError) as fault:
        save_finite({"a": torch.ones(2)}, path)
    assert fault.value.errno == errno.ENOSPC


def test_every_file_of_tensors_is_written_by_the_one_function() -> None:
    """Resume points are of steps that were checked; labelled tokens are NumPy's and checked beside it."""
    writers = {path.stem for path in Path("segcompass").rglob("*.py") if re.search(r"import .*\bsave_file\b", path.read_text())}
    assert writers == {"finite", "resume", "labelled"}


def test_a_cache_of_answers_names_token_and_picture(tmp_path: Path) -> None:
    images = ImagesWriter(tmp_path, torch.float16)
    with pytest.raises(InputError, match=r"cannot hold 1e[+]06, a value of the embedding of i.png"):
        images.add_image("i.png", torch.full((2, 4, 4), 1e6), torch.ones(16, 16, dtype=torch.bool))
    hidden = torch.ones(5, 8)
    hidden[3, 1] = 1e5
    types, boxes = torch.zeros(5, dtype=torch.uint8), np.zeros((2, 4))
    with pytest.raises(InputError, match=r"cannot hold 100000, a state after layer 2 at token 3 of the prompt and answer of s0"):
        AnswersWriter(tmp_path, torch.float16).add(OWNER, {2: hidden}, types, torch.zeros(5), torch.ones(4, 8), boxes)


def spoilt(path: Path, name: str, place: tuple[int, ...], value: float) -> None:
    """Writes a file of tensors again with one value changed."""
    tensors = load_file(path)
    tensors[name][place] = value
    save_file(tensors, path)


def read_of_answers(folder: Path, what: str) -> None:
    answers = CachedAnswers(folder, 2, torch.device("cpu"))
    reads = {"hidden": lambda: answers.hidden(1), "batch": lambda: answers.batch([0, 1]), "boxes": lambda: answers.boxes("i.png")}
    reads[what]()


@pytest.mark.parametrize(
    ("what", "file", "tensor", "place", "said"),
    [
        ("hidden", "answers-00000", "hidden.2", (8, 3), "hold inf, a state after layer 2 at token 3 of the prompt and answer of s1"),
        ("batch", "answers-00000", "hidden.2", (8, 3), "hold inf, a state after layer 2 at token 3 of the prompt and answer of s1"),
        ("batch", "answers-00000", "reference_states", (5, 0), "hold inf, a state of reference token 1 of the prompt and answer of s1"),
        ("boxes", "boxes-00000", "boxes", (1, 2), "hold inf, a side of the box of token 1 of i.png"),
    ],
)
def test_cached_answers_that_hold_one_name_layer_and_token(
    what: str, file: str, tensor: str, place: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    writer = AnswersWriter(tmp_path, torch.bfloat16)
    for number in range(2):
        owner = Answered(f"s{number}", "refcoco", "train", "i.png", "", "ok")
        writer.add(
            owner, {2: torch.full((5, 8), 1e6)}, torch.zeros(5, dtype=torch.uint8), torch.zeros(5), torch.ones(4, 8), np.zeros((2, 4))
        )
    writer.close({"layers": [2], "vocabulary": 9, "slots": 4, "longest": 7})
    read_of_answers(tmp_path, what)
    spoilt(tmp_path / f"{file}.safetensors", tensor, place, INF)
    with pytest.raises(InputError, match=said):
        read_of_answers(tmp_path, what)


def test_cached_images_that_hold_one_name_image_or_sample(tmp_path: Path) -> None:
    writer = ImagesWriter(tmp_path, torch.bfloat16)
    for name in ("i", "j"):
        writer.add_image(f"{name}.png", torch.full((2, 4, 4), 1e6), torch.ones(16, 16, dtype=torch.bool))
        writer.add_targets(f"s_{name}", torch.ones(1, 16, 16))
    writer.close({"segmenter": "sam"})
    images = CachedImages(tmp_path, "sam", torch.device("cpu"))
    assert (images.of(["i.png", "j.png"])[0] == torch.tensor(1e6).bfloat16()).all() and images.targets("s_j").min() == 1
    spoilt(tmp_path / "images-00000.safetensors", "embedding", (3, 1, 0), NAN)
    spoilt(tmp_path / "targets-00000.safetensors", "targets", (1, 2, 3), NAN)
    images = CachedImages(tmp_path, "sam", torch.device("cpu"))
    images.of(["i.png"])
    with pytest.raises(InputError, match=r"embedding: is nan at \[1, 1, 0\] of j\.png"):
        images.of(["i.png", "j.png"])
    with pytest.raises(InputError, match=r"targets: is nan at \[0, 2, 3\] of s_j"):
        images.targets("s_j")


def test_a_cache_in_bfloat16_keeps_what_float16_cannot(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path, 2, 4, "bfloat16", 50)
    place = torch.arange(7)
    hidden = narrowed(torch.full((7, 4), 70000.0), torch.bfloat16, str)
    writer.add({"hidden": hidden, "owner": place, "position": place, "token_type": place * 0})
    writer.close([(f"s{n}", f"i{n}.jpg") for n in range(7)])
    reader = CacheReader(tmp_path, 0.1, 0)
    chunk = reader.chunk(0)
    assert chunk.dtype == torch.float32 and len(chunk) == 6 and (chunk == torch.tensor(70000.0).bfloat16()).all()


def test_a_cache_of_tokens_that_holds_one_names_layer_and_token(tmp_path: Path) -> None:
    writer = CacheWriter(tmp_path, 2, 4, "float32", 50)
    place = torch.arange(7)
    writer.add({"hidden": torch.ones(7, 4), "owner": place * 0, "position": place, "token_type": place * 0})
    writer.close([("s0", "i0.jpg")])
    shard = load_file(tmp_path / "shard-00000.safetensors")
    shard["hidden"][5, 2] = NAN
    save_file(shard, tmp_path / "shard-00000.safetensors")
    with pytest.raises(InputError, match=r"holds nan, a hidden state of layer 2 at token 5 of line 1 of owners.jsonl"):
        list(CacheReader(tmp_path, 0.9, 0).held_out())


def test_a_diverging_step_ends_the_run_before_it_reaches_the_weights() -> None:
    check_step({"mse": 1.0}, 3, "key")
    with pytest.raises(InputError, match=r"sae_training.learning_rate: makes `mse` inf at step 3; lower it"):
        check_step({"l1": 1.0, "mse": INF}, 3, "sae_training.learning_rate")


def test_training_of_a_dictionary_stops_with_one_sentence(tmp_path: Path) -> None:
    class Huge:
        """Tokens whose squares overflow."""

        width, chunks, held_owner = 8, 1, torch.zeros(1, dtype=torch.bool)

        def chunk(self, number: int) -> torch.Tensor:
            return torch.full((4096, 8), 1e30)

    dictionary = TopKDictionary(8, 24, 3)
    settings = SETTINGS.model_copy(update={"activation_scale": "none", "decoder_bias": "zero"})
    with pytest.raises(InputError, match=r"sae_training.learning_rate: makes `.*` (inf|nan) at step 0"):
        train(dictionary, Huge(), settings, tmp_path)  # type: ignore[arg-type]
    assert all(unfinite(value) is None for value in dictionary.parameters())


def test_a_supervised_phase_stops_with_one_sentence(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    settings = micro_study().interface.training.heat_maps.model_copy(update={"steps": 4})

    def losses(step: int) -> dict[str, torch.Tensor]:
        return {"loss": module(torch.ones(1, 2)).sum() * (NAN if step == 2 else 1.0)}

    with pytest.raises(InputError, match=r"learning rates of the phase heat_maps: makes `total` nan at step 2"):
        run_phase("heat_maps", settings, module, losses, tmp_path, 1)
    assert all(unfinite(value) is None for value in module.parameters())


def test_a_trained_model_that_holds_one_is_neither_saved_nor_predicts(tmp_path: Path) -> None:
    model = tiny_joint()
    predictor = Predictor(model, micro_study().answer.longest, 0.5)
    thoughts = predictor.think(pictures(1), ["left red ring"])
    name, weight = next((name, value) for name, value in model.state().items() if value.is_floating_point() and value.ndim > 1)
    with torch.no_grad():
        weight.view(-1)[0] = NAN
    with pytest.raises(InputError, match=re.escape(f"{name}: is nan at")):
        save_run(model, tmp_path)
    with torch.no_grad():
        for parameter in model.interface.parameters():
            parameter.fill_(NAN)
    with pytest.raises(InputError, match=r"confidence: is nan at \[0, 0\]; its run cannot predict"):
        predictor.predictions(thoughts, predictor.segment(thoughts))


def test_a_backbone_that_holds_one_is_neither_saved_nor_loaded(tmp_path: Path) -> None:
    vlm, sam, study = tiny_vlm(), tiny_sam(), micro_study()
    save_embedded(tmp_path, vlm.model, vlm.processor, sam.model)
    for part, load in (("vlm", lambda: load_vlm(tmp_path / "vlm", study.runtime, study.answer)), ("sam", None)):
        weights = load_file(tmp_path / part / "model.safetensors")
        name = next(name for name, value in weights.items() if value.ndim == 2)
        weights[name][0, 1] = INF
        save_file(weights, tmp_path / part / "model.safetensors", {"format": "pt"})
        with pytest.raises(InputError, match=r"is inf at \[0, 1\]"):
            load() if load else load_segmenter(tmp_path / "sam", study.runtime)
    with torch.no_grad():
        next(vlm.model.parameters()).view(-1)[0] = NAN
    with pytest.raises(InputError, match=r"is nan at"):
        save_embedded(tmp_path / "again", vlm.model, vlm.processor, sam.model)
    assert not (tmp_path / "again").exists()


def test_a_dictionary_that_holds_one_is_neither_saved_nor_loaded(tmp_path: Path) -> None:
    dictionary = TopKDictionary(8, 24, 3)
    dictionary.hook_layer = 2
    save_dictionary(dictionary, tmp_path)
    weights = load_file(tmp_path / "sae_weights.safetensors")
    weights["W_dec"][3, 4] = NAN
    save_file(weights, tmp_path / "sae_weights.safetensors")
    with pytest.raises(InputError, match=r"W_dec: is nan at \[3, 4\]"):
        load_dictionary(tmp_path)
    spoilt(tmp_path / "sae_weights.safetensors", "W_dec", (3, 4), 0.0)
    spoilt(tmp_path / "sae_weights.safetensors", "b_dec", (5,), INF)
    config = json.loads((tmp_path / "cfg.json").read_text()) | {"apply_b_dec_to_input": True}  # a foreign one, whose b_dec enters b_enc
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"b_dec: is inf at \[5\]"):
        load_dictionary(tmp_path)
    with torch.no_grad():
        dictionary.b_enc[0] = NAN
    with pytest.raises(InputError, match=r"b_enc: is nan at \[0\]"):
        save_dictionary(dictionary, tmp_path)


def test_labelled_tokens_are_checked_both_ways(tmp_path: Path) -> None:
    tokens = drawn_tokens(images=2)
    tokens.hidden[3] = np.inf
    with pytest.raises(InputError, match=r"gives inf as a hidden state of layer 2 at token 3 of"):
        tokens.save(tmp_path, "val", 2)
    assert list(tmp_path.iterdir()) == []
    tokens.hidden[3] = 0
    tokens.save(tmp_path, "val", 2)
    arrays = load_arrays(tmp_path / "val.safetensors")
    arrays["hidden"][5, 1] = np.nan
    save_arrays(arrays, tmp_path / "val.safetensors")
    with pytest.raises(InputError, match=r"val\.safetensors: hidden: is nan at token 5"):
        load_labelled(tmp_path, "val")


def test_json_that_is_none_is_not_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen = tmp_path / "toy.json"
    frozen.write_text('{"stage": "toy", "wildcards": {}, "params": {}, "code": "c"}')

    def work(stage: Stage) -> None:
        (stage.folder / "metrics.json").write_text('{"word": "NaN", "value": NaN}')

    assert run_stage("toy", "", {}, work, ["--params", str(frozen), "--out", str(tmp_path / "out")]) == 2
    assert "metrics.json: would hold NaN; nothing of that kind is published" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
