"""Smaller SAMs beside the largest one, for what the size of the image encoder is worth (paper, Table 5).

A smaller SAM takes everything but the image encoder from the trained largest one: prompt encoder, mask decoder and positional code have the
same sizes, so only the encoder begins from nothing. It is trained on dense targets first, then the whole SAM on dense targets and mask
prompts at once. What differs between two smaller SAMs is the encoder's size alone; the largest one was trained longer as well.
"""

from pathlib import Path

import torch
from transformers.models.sam.modeling_sam import SamModel

from segcompass.backbone.build import build_sam
from segcompass.backbone.runtime import prepare_torch
from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.segmenter import PreparedScenes, train_encoder, train_together
from segcompass.errors import InputError
from segcompass.optimisation.phase import PhaseRecord
from segcompass.study.backbone import EmbeddedBackbone, SegmenterSettings, TowerSettings

SHARED = ("shared_image_embedding", "prompt_encoder", "mask_decoder")
"""Parts of `SamModel` that a smaller SAM begins with."""


def load_largest(folder: Path, settings: SegmenterSettings) -> SamSegmenter:
    """A trained SAM to begin smaller ones from, as float32.

    Raises:
        InputError: it has other sizes than `settings`.
    """
    sam = SamSegmenter(SamModel.from_pretrained(folder, dtype=torch.float32))
    vision, expected = sam.model.config.vision_config, build_sam(settings).config.vision_config
    for ours in ("hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_dim", "output_channels", "image_size", "patch_size"):
        if getattr(vision, ours) != getattr(expected, ours):
            field = f"vision_config.{ours}"
            raise InputError(
                folder / "config.json",
                field,
                f"is {getattr(vision, ours)}, but the study's recipe has {getattr(expected, ours)}; take `sam` out of backbone.taken",
            )
    return sam.eval()


def smaller_sam(largest: SamSegmenter, settings: SegmenterSettings, tower: TowerSettings) -> SamSegmenter:
    """A SAM with an untrained image encoder of the given size and everything else of `largest`, whose sizes are those of `settings`."""
    sam = SamSegmenter(build_sam(settings.model_copy(update={"vision": tower})))
    for part in SHARED:
        getattr(sam.model, part).load_state_dict(getattr(largest.model, part).state_dict())
    return sam


def train_smaller(
    name: str, settings: EmbeddedBackbone, largest: SamSegmenter, prepared: PreparedScenes, threads: int, resume: Path
) -> tuple[SamSegmenter, list[PhaseRecord]]:
    """Builds and trains one of `smaller_sams`.

    Its bytes depend on the weights of `largest` and on nothing else that runs before or beside it, so it may also begin from a largest
    SAM that was trained and saved before.
    """
    prepare_torch(threads, settings.seed)
    recipe, seed, every = settings.training, settings.seed, settings.checkpoint_every
    sam = smaller_sam(largest, settings.sam, settings.smaller_sams[name])
    phases = [train_encoder(sam, prepared, recipe.smaller.encoder, seed, resume, every, f"{name}_encoder")]
    prompts = recipe.prompts_per_image
    phases.append(train_together(sam, prepared, recipe.smaller.together, prompts, seed, resume, every, f"{name}_together"))
    return sam.eval(), phases
