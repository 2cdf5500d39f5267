"""Evaluation of texts and pictures as strangers write them: one row a sample, whatever one of them spells."""

import json
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from segcompass.backbone.build import save_embedded
from segcompass.backbone.instruction import TOO_LONG, UNKNOWN
from segcompass.datasets.masks import encode
from segcompass.datasets.samples import Sample, write_samples
from segcompass.joint.checkpoint import save_run
from segcompass.protocols.records import read_records
from segcompass.provenance.stage import Stage
from segcompass.sae.checkpoint import save_dictionary
from segcompass.sae.topk import TopKDictionary
from segcompass.stages import evaluate_joint
from segcompass.study.jobs import Job, stage_params
from tests.tiny import micro_study, pictures, tiny_joint

TEXTS = {
    "left red ring": None,
    "<image>": UNKNOWN,
    "red <image> ring <REF_POS>": None,
    "ring " * 1900: TOO_LONG,
    'red\rring,"\n\0\ttop': None,
    "</s> <pad> <think>": UNKNOWN,
    "\u00e9l\u00e9phant": UNKNOWN,
}
"""Text -> the status that it must have; None where the answer decides."""


def test_no_text_and_no_picture_ends_an_evaluation(tmp_path: Path) -> None:
    data, target = tmp_path / "data", np.zeros((96, 128), bool)
    target[:40] = True
    (data / "root").mkdir(parents=True)
    (data / "manifests" / "refcoco").mkdir(parents=True)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pictures(1)[0]).save(data / "root" / "a.png", exif=exif)
    rle = encode(target)
    samples = [Sample(f"s{n}", "a.png", 96, 128, text, False, rle, None, (rle,)) for n, text in enumerate(TEXTS)]
    write_samples(samples, data / "manifests" / "refcoco" / "val.jsonl")
    model = tiny_joint()
    save_embedded(tmp_path / "backbone", model.vlm.model, model.vlm.processor, model.segmenter.model)
    control = TopKDictionary(model.vlm.hidden_width, 64, 4, 0.0, 1000)
    control.hook_layer = model.dictionary.hook_layer
    for name, dictionary in (("sae", model.dictionary), ("control", control)):
        (tmp_path / name).mkdir()
        save_dictionary(dictionary, tmp_path / name)
    for name in ("run", "out"):
        (tmp_path / name).mkdir()
    save_run(model, tmp_path / "run")
    job = Job("evaluate_joint", (("variant", "full"), ("seed", "0")))
    params = stage_params(micro_study(), job)
    params["evaluation"] |= {"splits": {"refcoco": ["val"]}}
    inputs = {name: tmp_path / name for name in ("data", "backbone", "sae", "run")} | {"control-sae": tmp_path / "control"}
    stage = Stage(job.stage, params, dict(job.wildcards), tmp_path / "out", inputs, {})
    evaluate_joint.work(stage)
    assert stage.rows == {"refcoco/val": len(TEXTS)}
    records = read_records(tmp_path / "out" / "refcoco" / "val" / "records.csv")
    assert list(records["text"]) == list(TEXTS)
    for (text, status), found in zip(TEXTS.items(), records.to_dict("records"), strict=True):
        assert status is None or (found["status"], found["predicted_area"], found["predicted_no_target"]) == (status, 0, 0), text
        assert status is not None or found["status"] not in (TOO_LONG, UNKNOWN), text
    assert set(records["union"]) >= {int(target.sum())}, "a failed answer is an empty prediction, and counts"
    assert len(json.loads((tmp_path / "out" / "refcoco" / "val" / "predictions.json").read_text())) == len(TEXTS)
