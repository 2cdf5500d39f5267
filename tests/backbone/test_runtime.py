"""The keys of `runtime` take effect: checkpointing, attention and dtype change how the backbones compute, not what."""

from pathlib import Path

import pytest
import torch

from segcompass.backbone.build import build_processor, build_sam, build_tokenizer, build_vlm, save_embedded
from segcompass.backbone.interface import HookStates, VisionLanguageModel
from segcompass.backbone.load import load_segmenter, load_vlm
from segcompass.errors import InputError
from segcompass.joint.model import JointModel
from segcompass.joint.rollouts import answer
from segcompass.sae.topk import TopKDictionary
from segcompass.study.backbone import EmbeddedBackbone
from segcompass.world.instructions import vocabulary
from tests.arithmetic import same_sums
from tests.tiny import SLOTS, micro_study, pictures, tiny_vlm

pytestmark = pytest.mark.numerical

TEXTS = ["left red ring", "the small white disc at the top"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone = micro_study().backbone
    assert isinstance(backbone, EmbeddedBackbone)
    torch.manual_seed(0)
    tokenizer = build_tokenizer(vocabulary(), SLOTS)
    path = tmp_path_factory.mktemp("backbone")
    save_embedded(path, build_vlm(backbone.vlm, tokenizer), build_processor(backbone.vlm, tokenizer), build_sam(backbone.sam))
    return path


def loaded(folder: Path, **changes: object) -> VisionLanguageModel:
    study = micro_study()
    vlm = load_vlm(folder / "vlm", study.runtime.model_copy(update=changes), study.answer)
    vlm.freeze_up_to(1)
    return vlm


def states_of(vlm: VisionLanguageModel) -> HookStates:
    ids = torch.tensor([[5, 20, 21, 6, 7, 7, 7, 7, 2], [5, 22, 6, 7, 7, 7, 7, 2, 0]])
    return vlm.lower(vlm.prompts(pictures(2), TEXTS), ids, ids != vlm.pad_id)


def test_checkpointing_recomputes_blocks_and_changes_no_gradient() -> None:
    gradients, calls = {}, {}
    for chosen in (False, True):
        vlm = tiny_vlm()
        vlm.freeze_up_to(1)
        vlm.gradient_checkpointing = chosen
        count = [0]
        vlm.model.model.language_model.layers[2].register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
        states = states_of(vlm)
        log_probs = vlm.answer_log_probs(vlm.upper(states), states, 1.0)
        (log_probs * states.mask[:, states.prompt_length :]).sum().backward()
        gradients[chosen] = {name: value.grad for name, value in vlm.named_parameters() if value.grad is not None}
        calls[chosen] = count[0]
    assert calls == {False: 1, True: 2}, "the block runs once more in the backward pass"
    assert len(gradients[True]) > 10 and gradients[True].keys() == gradients[False].keys()
    for name, gradient in gradients[True].items():
        assert torch.equal(gradient, gradients[False][name]), name


def test_attention_implementations_agree_on_every_valid_token(folder: Path) -> None:
    found = {}
    for attention in ("eager", "sdpa"):
        vlm = loaded(folder, attention=attention)
        assert vlm.model.config.text_config._attn_implementation == attention
        with torch.no_grad():
            states = states_of(vlm)
            last = vlm.upper(states)
        rollouts = vlm.generate(vlm.prompts(pictures(2), TEXTS), 2, None, 6, None)
        found[attention] = (states.hidden[states.mask], last[states.mask], rollouts.answers)
        assert (states.prompt_length - states.mask[:, : states.prompt_length].sum(1)).tolist() != [0, 0], "some prompt is padded"
    (*eager, answers), (*sdpa, expected) = found["eager"], found["sdpa"]
    assert all(same_sums(ours, theirs, terms=256, layers=vlm.depth) for ours, theirs in zip(eager, sdpa, strict=True))
    assert torch.equal(answers, expected)


def test_bfloat16_is_the_arithmetic_and_trained_weights_stay_float32(folder: Path) -> None:
    runtime = micro_study().runtime.model_copy(update={"dtype": "bfloat16"})
    vlm, sam = loaded(folder, dtype="bfloat16"), load_segmenter(folder / "sam", runtime)
    assert {value.dtype for value in vlm.parameters() if not value.requires_grad} == {torch.bfloat16}
    dictionary = TopKDictionary(vlm.hidden_width, 64, 4)
    dictionary.hook_layer = 1
    model = JointModel(vlm, sam, dictionary, micro_study().interface.model, micro_study().answer.max_thought_tokens)
    assert {value.dtype for value in model.trained().values()} == {torch.float32}
    prompts = vlm.prompts(pictures(2), TEXTS)
    answers = answer(vlm, prompts, 2, 0.7, 8, torch.Generator().manual_seed(0))
    states = answers.formed
    assert states.hidden.dtype == torch.bfloat16
    last = vlm.upper(states)
    inputs = sam.inputs(pictures(2))
    embeddings, valid = (part.repeat_interleave(2, 0) for part in (sam.embed(inputs), inputs.valid))
    output = model.segment(model.reading(states, model.vlm.reference_states(last, states)), embeddings, valid)
    log_probs = vlm.answer_log_probs(last, states, 0.7)
    assert {part.dtype for part in (output.heat, output.mask_logits, output.confidence_logits, log_probs)} == {torch.float32}
    (output.mask_logits.mean() + log_probs.mean()).backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.trained().values())
    reference = vlm.reference_copy()
    with torch.no_grad(), vlm.using(reference):
        assert torch.equal(vlm.answer_log_probs(vlm.upper(states), states, 0.7), log_probs), "the KL term begins at zero"
    assert {module.weight.dtype for module in reference.modules() if isinstance(module, torch.nn.Linear)} == {torch.bfloat16}
    exact = loaded(folder)
    same = exact.lower(exact.prompts(pictures(2), TEXTS), states.ids[:, states.prompt_length :], states.mask[:, states.prompt_length :])
    with torch.no_grad():
        difference = (exact.upper(same) - last.float())[states.mask].abs()
    assert 0 < difference.mean() < 0.05, "rounded, and no more than that"


def test_models_of_a_device_that_is_not_there_are_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    there = micro_study().runtime.model_copy(update={"device": "cuda"})
    for load in (lambda: loaded(folder, device="cuda"), lambda: load_segmenter(folder / "sam", there)):
        with pytest.raises(InputError, match=r"runtime\.device: is `cuda`, but torch finds no such device here"):
            load()
