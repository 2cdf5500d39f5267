"""Renders the embedded world, writes it in the five benchmarks' formats, and reads it back through their loaders.

The manifests, which every later stage reads, come from the loaders alone; scenes and gold thoughts are written beside them. Counterfactual
pairs go the same way; `pairs/` says which of their samples belong together.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter
from tqdm import tqdm

from segcompass.datasets.artefact import ROOT_FILE, manifest
from segcompass.datasets.load import load_samples
from segcompass.datasets.pairs import pairs_file
from segcompass.datasets.samples import write_samples
from segcompass.datasets.splits import EVALUATION_SPLITS, AbsentSplitError
from segcompass.errors import InputError
from segcompass.provenance.folder_digest import annotation_digest
from segcompass.provenance.stage import Stage, run_stage
from segcompass.study.data import DataSettings, RootSettings, WorldSettings
from segcompass.world.instructions import Expression, facts
from segcompass.world.render import JPEG_QUALITY, render
from segcompass.world.scene import Scene, draw_scene
from segcompass.world.splits import BENCHMARK_SPLITS, expressions, implicit_expressions
from segcompass.world.write_coco import Ref, image_path, sentence_ids, write_grefs, write_instances, write_refs
from segcompass.world.write_pairs import write_pairs
from segcompass.world.write_reasonseg import sample_name, write_explanations, write_sample
from segcompass.world.write_truth import gold_row, scene_row, write_lines

FLAGS: dict[str, str] = {}
REFS = {"refcoco": "refs(unc).p", "refcoco+": "refs(unc).p", "refcocog": "refs(umd).p", "grefcoco": "grefs(unc).json"}
PARTITION = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd", "grefcoco": "unc"}


def work(stage: Stage) -> None:
    """Fills `manifests/`, and for the embedded world `root/`, `scenes/`, `supervision/` and `pairs/`."""
    settings: DataSettings = TypeAdapter(DataSettings).validate_json(json.dumps(stage.params["data"]))
    if isinstance(settings, RootSettings):
        _read_root(stage, settings)
    else:
        _write_world(stage, settings)


def _read_root(stage: Stage, settings: RootSettings) -> None:
    """Manifests of the train and evaluation splits, as far as they are there, of the benchmarks that the study names."""
    for name, digest in stage.params["files"].items():
        if annotation_digest(Path(name)) != digest:
            raise InputError(Path(name), "", "has changed since the study was read; start the pipeline again")
    (stage.folder / ROOT_FILE).write_text(settings.root + "\n", encoding="utf-8")
    for benchmark, partition in settings.partitions.items():
        for split in ("train", *EVALUATION_SPLITS[benchmark]):
            path = manifest(stage.folder, benchmark, split)
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                stage.rows[f"{benchmark}/{split}"] = write_samples(load_samples(Path(settings.root), benchmark, split, partition), path)
            except AbsentSplitError:
                path.unlink(missing_ok=True)


def _write_world(stage: Stage, settings: WorldSettings) -> None:
    root = stage.folder / "root"
    scenes = _scenes(settings)
    _write_images(root, scenes, settings.seed)
    for split in sorted({scene.split for scene in scenes}):
        write_lines(stage.folder / "scenes" / f"{split}.jsonl", (scene_row(s, image_path(s)) for s in scenes if s.split == split))
    write_instances([root / benchmark / "instances.json" for benchmark in REFS], scenes)
    supervision: dict[str, list[dict[str, Any]]] = {scene.split: [] for scene in scenes}
    for benchmark, splits in BENCHMARK_SPLITS.items():
        refs: list[Ref] = [
            (scene, scene.split, expression)
            for scene in scenes
            if scene.split in splits
            for expression in expressions(scene, benchmark, settings)
        ]
        rows = _write_reasonseg(root, refs) if benchmark == "reasonseg" else _write_refer(root, benchmark, refs)
        for split in splits:
            own = [row for scene_split, row in rows if scene_split == split]
            if (benchmark, split) != ("reasonseg", "train"):  # zero-shot: its things are kept out of every training picture's text
                supervision[split] += own
            stage.rows[f"{benchmark}/{split}"] = _read_back(stage.folder, benchmark, split, own)
    for scene in scenes:
        if scene.split in ("train", "val"):
            supervision[scene.split] += _implicit(scene, implicit_expressions(scene, settings))
    for split, gold in supervision.items():
        write_lines(stage.folder / "supervision" / f"{split}.jsonl", gold)
    write_lines(stage.folder / "supervision" / "facts.jsonl", ({"text": question, "thought": answer} for question, answer in facts()))
    _write_counterfactuals(stage, settings)


def _write_counterfactuals(stage: Stage, settings: WorldSettings) -> None:
    """Pairs of scenes with manifests of their own; nothing that training or evaluation reads holds them."""
    if not settings.counterfactuals.pairs:
        return
    written = []
    for rows in write_pairs(stage.folder / "root", settings):
        stage.rows[f"{rows.benchmark}/{rows.split}"] = _read_back(stage.folder, rows.benchmark, rows.split, rows.supervision)
        written.append(rows)
    for split in settings.counterfactuals.splits:
        own = [rows for rows in written if rows.split == split]
        write_lines(stage.folder / "scenes" / f"counterfactual_{split}.jsonl", (row for rows in own for row in rows.scenes))
        write_lines(stage.folder / "supervision" / f"counterfactual_{split}.jsonl", (row for rows in own for row in rows.supervision))
        write_lines(pairs_file(stage.folder, split), (row for rows in own for row in rows.pairs))


def _scenes(settings: WorldSettings) -> list[Scene]:
    scenes: list[Scene] = []
    for split, count in settings.scenes.model_dump().items():
        for _ in range(count):
            number = len(scenes) + 1
            scenes.append(draw_scene(number, split, settings, np.random.default_rng([settings.seed, number])))
    return scenes


def _write_images(root: Path, scenes: list[Scene], seed: int) -> None:
    for scene in tqdm(scenes, desc="rendering", disable=None):
        path = root / image_path(scene)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(scene, np.random.default_rng([seed, scene.scene_id, 1]))).save(path, quality=JPEG_QUALITY)


def _write_refer(root: Path, benchmark: str, refs: list[Ref]) -> list[tuple[str, dict[str, Any]]]:
    (write_grefs if benchmark == "grefcoco" else write_refs)(root / benchmark / REFS[benchmark], refs)
    rows = []
    for number, (scene, split, expression) in enumerate(refs):
        for sent_id, text in zip(sentence_ids(number, len(expression.sentences)), expression.sentences, strict=True):
            sample_id = f"{benchmark}_{PARTITION[benchmark]}_{split}_s{sent_id}"
            rows.append((split, gold_row(sample_id, image_path(scene), text, benchmark, expression)))
    return rows


def _write_reasonseg(root: Path, refs: list[Ref]) -> list[tuple[str, dict[str, Any]]]:
    rows, explanations = [], []
    numbers: dict[int, int] = {}
    for scene, split, expression in refs:
        number = numbers[scene.scene_id] = numbers.get(scene.scene_id, -1) + 1
        write_sample(root, split, scene, number, expression)
        name = sample_name(scene, number)
        for index, text in enumerate(expression.sentences if split == "train" else expression.sentences[:1]):
            sample_id = f"reasonseg_{split}_{name}" + (f"_t{index}" if index else "")
            rows.append((split, gold_row(sample_id, f"ReasonSeg/{split}/{name}.jpg", text, "reasonseg", expression)))
        if split == "train":
            explanations.append({"image": f"{name}.jpg", "query": expression.sentences[0], "outputs": expression.thought})
    write_explanations(root, explanations)
    return rows


def _read_back(folder: Path, benchmark: str, split: str, gold: list[dict[str, Any]]) -> int:
    """Writes the manifest of a split and makes sure that gold thoughts and samples are the same ones.

    Returns:
        Number of samples.
    """
    samples = list(load_samples(folder / "root", benchmark, split))
    expected = {(row["sample_id"], row["text"]) for row in gold}
    if {(sample.sample_id, sample.text) for sample in samples} != expected or len(samples) != len(gold):
        raise AssertionError(f"{benchmark}/{split}: the loaders do not give back what was written")
    path = manifest(folder, benchmark, split)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_samples(samples, path)


def _implicit(scene: Scene, found: list[Expression]) -> list[dict[str, Any]]:
    """Gold thoughts of expressions that stand in no benchmark: `implicit_<split>_<scene>_<expression>_t<sentence>`."""
    return [
        gold_row(f"implicit_{scene.split}_{scene.scene_id}_{number}_t{index}", image_path(scene), text, "implicit", expression)
        for number, expression in enumerate(found)
        for index, text in enumerate(expression.sentences)
    ]


def main(argv: list[str] | None = None) -> int:
    """Command line of the stage."""
    return run_stage("prepare_data", __doc__ or "", FLAGS, work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
