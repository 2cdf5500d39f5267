"""Sizes of every SAM of a study, against the models that transformers builds."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers.models.sam.configuration_sam import SamConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamModel

from segcompass.backbone.build import build_sam
from segcompass.errors import InputError
from segcompass.footprint.architecture import SegmenterSize
from segcompass.footprint.sizes import SEGMENTERS, backbone_sizes
from segcompass.study.backbone import EmbeddedBackbone, PretrainedBackbone
from segcompass.study.load import load_study
from segcompass.study.study import Study

PARAMS = Path("params")
PUBLISHED = {
    "sam-vit-huge": {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "global_attn_indexes": [7, 15, 23, 31]},
    "sam-vit-large": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "global_attn_indexes": [5, 11, 17, 23]},
    "sam-vit-base": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "global_attn_indexes": [2, 5, 8, 11]},
}
"""What the checkpoints' own `config.json` holds beside the values that all three share."""


def count(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def agrees(size: SegmenterSize, model: SamModel) -> bool:
    parts = (model.vision_encoder, model.prompt_encoder.mask_embed, model.mask_decoder)
    return (size.encoder, size.prompt, size.decoder) == tuple(count(part) for part in parts)


@pytest.mark.parametrize("name", PUBLISHED)
def test_sam_as_published(name: str) -> None:
    vision = SamVisionConfig(mlp_dim=4 * PUBLISHED[name]["hidden_size"], **PUBLISHED[name])
    with torch.device("meta"):
        model = SamModel(SamConfig(vision_config=vision))
    assert agrees(SEGMENTERS[name], model)


def test_a_recipe_has_the_sizes_of_every_sam_that_it_builds() -> None:
    study = load_study(PARAMS / "smoke.yaml")
    assert isinstance(study.backbone, EmbeddedBackbone) and study.backbone.source == "build"
    sizes = backbone_sizes(study, Path.cwd()).segmenters
    assert list(sizes) == ["sam", *study.backbone.smaller_sams]
    for name, tower in ({"sam": study.backbone.sam.vision} | study.backbone.smaller_sams).items():
        assert agrees(sizes[name], build_sam(study.backbone.sam.model_copy(update={"vision": tower})))


def test_shipped_sams_have_the_sizes_of_their_own_configurations() -> None:
    study = load_study(PARAMS / "default.yaml")
    assert isinstance(study.backbone, EmbeddedBackbone)
    sizes = backbone_sizes(study, Path.cwd()).segmenters
    assert list(sizes) == study.backbone.segmenters
    for name, size in sizes.items():
        assert agrees(size, SamModel.from_pretrained(Path(study.backbone.folder) / name))


def with_backbone_of(path: Path) -> Study:
    """A study whose backbone is that of another study file."""
    backbone = PretrainedBackbone.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))["backbone"])
    return load_study(PARAMS / "default.yaml").model_copy(update={"backbone": backbone})


@pytest.mark.parametrize("path", sorted(PARAMS.glob("paper_*.yaml")), ids=lambda path: path.stem)
def test_paper_studies_name_the_three_sizes_of_table_5(path: Path) -> None:
    widths = [size.width for size in backbone_sizes(with_backbone_of(path), Path.cwd()).segmenters.values()]
    assert widths == [1280, 1024, 768]


def test_an_unknown_smaller_sam_that_is_not_there_is_one_sentence() -> None:
    study = with_backbone_of(PARAMS / "paper_llava7b.yaml")
    unheard = study.backbone.model_copy(update={"smaller_sams": {"sam_tiny": "checkpoints/unheard-of"}})
    with pytest.raises(InputError, match=r"checkpoints/unheard-of: backbone\.smaller_sams\.sam_tiny: holds no config\.json"):
        backbone_sizes(study.model_copy(update={"backbone": unheard}), Path.cwd())
