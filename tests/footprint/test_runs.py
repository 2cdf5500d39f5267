"""Work of the jobs of both experiments: which jobs are counted, and what each costs, by hand."""

from pathlib import Path

import pytest

from segcompass.footprint.corpus import paired_corpus
from segcompass.footprint.memory import interface_size
from segcompass.footprint.runs import (
    Evaluated,
    answer_work,
    cached_answers_work,
    drawn_work,
    edited_slots,
    embedding_work,
    evaluated_work,
    exchange_work,
    interface_evaluation_work,
    interface_work,
    intervention_work,
    joint_evaluation_work,
    joint_work,
    product,
    segmented_work,
    stage_works,
    validation_work,
    warm_start_work,
)
from segcompass.footprint.sizes import backbone_sizes
from segcompass.footprint.work import Work, blocks_forward, decoding, encoder_forward, mask_forward, vision_forward
from segcompass.study.jobs import all_jobs
from segcompass.study.load import load_study
from segcompass.study.shard_jobs import number_of_shards
from segcompass.study.study import Study
from tests.tiny import micro_study

PAPER = load_study(Path("params/paper_llava7b.yaml"))
BACKBONE = backbone_sizes(PAPER, Path.cwd())
REFERENCE = PAPER.interface_variant("reference")
ANSWER = 791
PRODUCT = 2 * 4096 * 65536 * ANSWER
MODELLESS = {"prepare_data", "train_backbone", "score_concepts", "correlate", "judge_claims", "make_tables", "make_figures"}
MODELLESS |= {"write_summary"}


def with_joint(**keys: object) -> Study:
    """The paper's study with other keys of joint training."""
    return PAPER.model_copy(update={"joint": PAPER.joint.model_copy(update=keys)})


@pytest.mark.parametrize("study", ["paper_llava7b", "paper_qwen7b", "default", "smoke"])
def test_every_job_that_runs_a_model_is_counted_once(study: str) -> None:
    loaded = load_study(Path(f"params/{study}.yaml"))
    found = stage_works(loaded, backbone_sizes(loaded, Path.cwd()), Path("nowhere"), 8)
    jobs: dict[str, int] = {}
    for job in all_jobs(loaded):
        if job.stage not in MODELLESS:
            jobs[job.stage] = jobs.get(job.stage, 0) + number_of_shards(loaded, job)
    assert {stage: len(works) for stage, works in found.items()} == jobs
    assert all(sum(works, Work()) != Work() for works in found.values())


def test_an_answer_that_is_given_costs_its_one_pass_and_one_that_is_drawn_the_drawing_too() -> None:
    language = BACKBONE.language
    given, drawn = answer_work(PAPER, BACKBONE, 16, generated=False), answer_work(PAPER, BACKBONE, 16)
    assert given == Work(half=vision_forward(BACKBONE) + blocks_forward(language, 32, ANSWER))
    drawing = vision_forward(BACKBONE) + blocks_forward(language, 32, 656) + decoding(language, 656, 135, 1)
    assert drawn.half - given.half == pytest.approx(drawing, rel=1e-9) and drawn.read > 0


def test_cached_answers_are_drawn_but_for_gold_ones() -> None:
    world = micro_study()
    sizes = backbone_sizes(world, Path.cwd())
    drawn, given = answer_work(world, sizes, world.answers.batch), answer_work(world, sizes, world.answers.batch, generated=False)
    assert world.answers.thoughts == "gold"
    assert cached_answers_work(world, sizes, "training", 3) == cached_answers_work(world, sizes, "gold", 3) == given * 3
    assert cached_answers_work(world, sizes, "evaluation", 3) == drawn * 3
    assert cached_answers_work(PAPER, BACKBONE, "training", 3) == answer_work(PAPER, BACKBONE, 16) * 3


def test_smaller_sams_embed_for_less() -> None:
    hours = [embedding_work(PAPER, BACKBONE, name, 10).half for name in PAPER.backbone.segmenters]
    assert hours == sorted(hours, reverse=True) and hours[0] == 10 * encoder_forward(BACKBONE.segmenters["sam"])


def test_an_interface_encodes_every_answer_once_or_a_dense_map_every_batch() -> None:
    """3,000 steps of 16 answers: three times the interface, and each of six masks once for matching and three times for learning."""
    reading, mask = interface_size(PAPER, BACKBONE, REFERENCE).reading(ANSWER), 6 * mask_forward(BACKBONE.segmenter)
    learning = 48000 * (3 * reading + 4 * mask)
    assert interface_work(PAPER, BACKBONE, REFERENCE, 1000).single == pytest.approx(1000 * PRODUCT + learning, rel=1e-12)
    dense = PAPER.interface_variant("dense")
    reading = interface_size(PAPER, BACKBONE, dense).reading(ANSWER)
    assert interface_work(PAPER, BACKBONE, dense, 1000).single == pytest.approx(48000 * (PRODUCT + 3 * reading + 4 * mask), rel=1e-12)
    assert interface_work(PAPER, BACKBONE, PAPER.interface_variant("untrained"), 1000).single == 1000 * PRODUCT


def test_heat_maps_are_learnt_without_sam() -> None:
    training = REFERENCE.training
    heat = training.heat_maps.model_copy(update={"steps": 10})
    masks = training.masks.model_copy(update={"steps": 0})
    settings = REFERENCE.model_copy(update={"training": training.model_copy(update={"heat_maps": heat, "masks": masks})})
    reading = interface_size(PAPER, BACKBONE, REFERENCE).reading(ANSWER)
    assert interface_work(PAPER, BACKBONE, settings, 0).single == pytest.approx(160 * 3 * reading, rel=1e-12)


def test_evaluation_reads_the_controls_dictionary_and_gold_thoughts_where_they_are_asked_for() -> None:
    assert product(PAPER, BACKBONE, "relu_l1") == product(PAPER, BACKBONE, "random") == PRODUCT
    segmented = segmented_work(PAPER, BACKBONE, REFERENCE)
    assert segmented.single == interface_size(PAPER, BACKBONE, REFERENCE).reading(ANSWER) + 6 * mask_forward(BACKBONE.segmenter)
    own, controlled = (evaluated_work(PAPER, BACKBONE, REFERENCE, asked) for asked in (False, True))
    assert own.single == pytest.approx(2 * PRODUCT + segmented.single, rel=1e-12)
    assert controlled.single == pytest.approx(own.single + 2 * PRODUCT, rel=1e-12)
    assert interface_evaluation_work(PAPER, BACKBONE, REFERENCE, Evaluated(10, True, False)) == controlled * 10
    taught = interface_evaluation_work(PAPER, BACKBONE, REFERENCE, Evaluated(10, False, True))
    assert taught.single == pytest.approx(10 * (own.single + PRODUCT + segmented.single), rel=1e-12) and taught.half == taught.read == 0
    policy = answer_work(PAPER, BACKBONE, 16) + embedding_work(PAPER, BACKBONE, "sam", 1)
    assert joint_evaluation_work(PAPER, BACKBONE, PAPER.joint, Evaluated(10, False, False)) == (policy + own) * 10
    joint = joint_evaluation_work(PAPER, BACKBONE, PAPER.joint, Evaluated(10, False, True))
    given = answer_work(PAPER, BACKBONE, 1, generated=False)
    assert joint.half == pytest.approx(10 * (policy.half + given.half), rel=1e-12)


def test_a_joint_step_by_hand() -> None:
    """16 prompts of 8 rollouts packed behind them; passes above the hook: two learn, recomputed once more, and the reference's."""
    language, joint = BACKBONE.language, PAPER.joint
    step = joint_work(PAPER, BACKBONE, joint, 8) + validation_work(PAPER, BACKBONE, joint) * -1.0
    packed = 656 + 8 * 135
    half = 16 * (2 * vision_forward(BACKBONE) + blocks_forward(language, 32, 656) + encoder_forward(BACKBONE.segmenter))
    half += 128 * decoding(language, 656, 135, 8) + 128 * 4 * 2 * language.head * 135
    half += 16 * blocks_forward(language, 16, packed) * (1 + 4 + 4 + 1)
    single = 128 * (PRODUCT + 3 * interface_size(PAPER, BACKBONE, REFERENCE).reading(ANSWER) + 4 * 6 * mask_forward(BACKBONE.segmenter))
    assert step.half == pytest.approx(3000 * half, rel=1e-9) and step.single == pytest.approx(3000 * single, rel=1e-9)


def test_what_learns_nothing_from_masks_costs_less() -> None:
    upper = 16 * blocks_forward(BACKBONE.language, 16, 656 + 8 * 135)
    whole = joint_work(PAPER, BACKBONE, PAPER.joint, 8)
    held = joint_work(PAPER, BACKBONE, with_joint(segmentation_gradient=0.0).joint, 8)
    assert whole.half - held.half == pytest.approx(3000 * 3 * upper, rel=1e-9) and held.single == whole.single
    policy_alone = joint_work(PAPER, BACKBONE, PAPER.joint_variant("rl_only"), 8)
    once = interface_size(PAPER, BACKBONE, REFERENCE).reading(ANSWER)
    saved = 128 * (2 * once + 3 * 6 * mask_forward(BACKBONE.segmenter))
    assert policy_alone.half == held.half and whole.single - policy_alone.single == pytest.approx(3000 * saved, rel=1e-9)


def test_a_run_is_validated_before_its_first_step_and_at_its_end() -> None:
    """3,000 steps watched every 250: 13 times; every 2,000: after 0, 2,000 and 3,000."""
    often, seldom = (
        validation_work(PAPER, BACKBONE, with_joint(validation=PAPER.joint.validation.model_copy(update={"every": every})).joint)
        for every in (250, 2000)
    )
    assert often.half / seldom.half == pytest.approx(13 / 3)
    answered = answer_work(PAPER, BACKBONE, 128) + embedding_work(PAPER, BACKBONE, "sam", 1)
    assert often.half == pytest.approx(13 * 512 * answered.half, rel=1e-12)


def test_interventions_by_hand() -> None:
    """Three benchmarks, 500 expressions each, of which curves alone read all: one look, and for six slots what every intervention reads.

    2 ends and 5 arms at 2 fractions with masks on 500, 200 and 200 expressions, at 7 others on 200 each; 12 doses and 10 looks at pairs
    on 200; 512 concepts alone on 16, with 16 steps of three; 18 gradients and 5 edits on 200; two looks at nothing on 100; the first look
    at a slot, and a gradient.
    """
    found = intervention_work(PAPER, BACKBONE, REFERENCE)
    readings = 900 * (2 + 10) + 600 * 35 + 200 * (12 + 10) + 16 * (512 + 48 + 2) + 200 * (3 * 18 + 5) + 200 + 500 * 4
    masks = 900 * (2 + 10) + 16 * 513 + 200 * (3 + 5) + 200 + 500
    reading, mask = interface_size(PAPER, BACKBONE, REFERENCE).reading(ANSWER), mask_forward(BACKBONE.segmenter)
    expected = 3 * (756 * (PRODUCT + reading) + 6 * (readings * reading + masks * mask))
    assert found.single == pytest.approx(expected, rel=1e-12) and found.half == found.read == 0
    settings = PAPER.analysis.intervention
    assert edited_slots(settings, False) == (200, 200 * 59 + 200 + 200 * 4, 200 * 8 + 200 + 200), "words and references: two of them"


def test_an_exchange_looks_once_at_every_arm_and_cell_of_every_sample() -> None:
    """3 splits of 500: a thought swap looks at 6 arms of 4 answers, the paths at 16 cells and the sham of 2."""
    looks, codes = 1500 * (6 + 17), 1500 * (4 + 2)
    segmented = segmented_work(PAPER, BACKBONE, REFERENCE)
    assert exchange_work(PAPER, BACKBONE, "reference").single == pytest.approx(codes * PRODUCT + looks * segmented.single, rel=1e-12)


def test_pairs_of_a_world_are_counted_for_an_exchange() -> None:
    """Two pairs of 5 attributes a split. On val 2 numbers of concepts are tried, each moved and isolated, after a look before. On test 9
    arms on the own attribute, 6 on another one, 8 where it is not named, each after a look before, and the ceiling."""
    world = micro_study()
    sizes = backbone_sizes(world, Path.cwd())
    only = world.analysis.exchange.model_copy(update={"variants": {"swap": ["reference"]}})
    world = world.model_copy(update={"analysis": world.analysis.model_copy(update={"exchange": only})})
    segmented = segmented_work(world, sizes, world.interface_variant("reference"))
    looks = 10 * 2 * 3 + 10 * (1 + 9 + 6 + 1 + 1 + 8)
    codes = 10 * 2 * (2 + 2) + 10 * (5 + 9)
    expected = codes * product(world, sizes, "topk") + looks * segmented.single
    assert exchange_work(world, sizes, "reference").single == pytest.approx(expected, rel=1e-12)
    corpus = paired_corpus(world, Path("nowhere"))
    assert (corpus.images, corpus.expressions, corpus.counted) == (2 * 20, 6 * 20, False)
    assert paired_corpus(PAPER, Path("nowhere")).expressions == 0


def test_a_warm_start_passes_its_answers_through_all_blocks_and_draws_the_held_out_ones_twice() -> None:
    """Above the hook a pass, its repetition and two for the gradient; the head three times; 5 samples drawn before and after."""
    assert PAPER.warm_start is not None and PAPER.runtime.gradient_checkpointing
    few = PAPER.warm_start.model_copy(update={"steps": 3, "prompts": 2, "samples": 5})
    language = BACKBONE.language
    taught = vision_forward(BACKBONE) + (16 + 4 * 16) * blocks_forward(language, 1, ANSWER) + 3 * 2 * 4096 * 32064 * 135
    found, drawn = warm_start_work(PAPER, BACKBONE, few), drawn_work(PAPER, BACKBONE, 2)
    assert found.half == pytest.approx(3 * 2 * taught + 10 * drawn.half, rel=1e-9)
    assert (found.read, found.single) == (10 * drawn.read, 0.0)
