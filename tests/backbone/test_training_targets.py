"""What the embedded backbone is taught about each cell of a picture."""

from pathlib import Path

import numpy as np
import torch
from transformers.models.sam.modeling_sam import SamModel

from segcompass.backbone.sam import SamSegmenter
from segcompass.backbone.training.scenes import TrainingScene, cell_targets
from segcompass.backbone.training.segmenter import fine_targets, grid_boxes, prepare_scenes, train_masks, train_together
from segcompass.backbone.training.vision import attribute_words, mirrored
from segcompass.study.backbone import EmbeddedBackbone
from segcompass.world.lexicon import ATTRIBUTES, PLACES
from tests.tiny import micro_study, tiny_sam, tiny_vlm

PLACE = list(ATTRIBUTES).index("place")


def scene(*objects: tuple[int, int, int], side: int = 64) -> TrainingScene:
    """Squares (row, column, half width) on a square picture, the i-th of colour i."""
    labels = np.zeros((side, side), np.uint8)
    classes = []
    for index, (row, column, half) in enumerate(objects):
        labels[row - half : row + half, column - half : column + half] = index + 1
        place = 3 * (3 * row // side) + 3 * column // side
        classes.append([index, 2, 0, 0, place])
    centres = np.array([[row, column] for row, column, _ in objects], np.float32)
    return TrainingScene("", np.zeros((side, side, 3), np.uint8), "", (), labels, np.array(classes), centres)


def test_an_object_on_the_corner_of_four_cells_owns_the_cell_of_its_centre() -> None:
    # 4 x 4 pixels on the corner of cells of 16: a quarter of 16 in each cell of 256 pixels, far below the least share.
    classes, coordinates = cell_targets(scene((16, 16, 2)), grid_boxes(64, 64, 4))
    seen = np.flatnonzero(classes[:, 0] >= 0)
    assert seen.tolist() == [5], "row 16, column 16 lies in the second cell of the second row"
    # The cell's middle is (24, 24): 8 pixels away, half a quarter of the side; 16 of 64 is -0.5 between -1 and 1.
    assert coordinates[5].tolist() == [-0.5, -0.5, -0.5, -0.5]


def test_two_centres_in_one_cell_leave_it_to_the_nearer_one() -> None:
    classes, _ = cell_targets(scene((4, 4, 2), (9, 9, 2)), grid_boxes(64, 64, 4))
    assert classes[0, 0] == 1


def test_a_large_object_reports_from_every_cell_it_fills() -> None:
    classes, _ = cell_targets(scene((32, 32, 16)), grid_boxes(64, 64, 4))
    assert np.flatnonzero(classes[:, 0] >= 0).tolist() == [5, 6, 9, 10]


def test_mirrored_targets_are_those_of_the_mirrored_picture() -> None:
    plain, turned = scene((10, 14, 6), (40, 50, 9)), scene((10, 50, 6), (40, 14, 9))
    boxes = grid_boxes(64, 64, 4)
    for ours, truth in zip(mirrored(*cell_targets(plain, boxes)), cell_targets(turned, boxes), strict=True):
        assert np.allclose(ours, truth)
    classes, _ = cell_targets(plain, boxes)
    assert PLACES[classes[0, PLACE]] == "top left"
    assert PLACES[mirrored(*cell_targets(plain, boxes))[0][3, PLACE]] == "top right"


def test_a_value_speaks_its_own_words() -> None:
    vlm = tiny_vlm()
    ids, spoken = attribute_words(vlm)
    words = vlm.processor.tokenizer.convert_ids_to_tokens(ids.tolist())
    for name, values in ATTRIBUTES.items():
        for number, value in enumerate(values):
            row = spoken[list(ATTRIBUTES).index(name), number]
            assert {words[index] for index in row.nonzero()[:, 0].tolist()} == set(value.split())


def test_mask_pixels_point_to_the_centre_of_their_object() -> None:
    sam = tiny_sam()
    covered, offsets = fine_targets(prepare_scenes(sam, [scene((40, 80, 24), side=128)]), 0)
    assert float(covered.sum()) == 24 * 24, "48 x 48 pixels are 24 x 24 mask pixels of two"
    side = sam.mask_side
    assert torch.allclose(offsets[10, 30], torch.tensor([20 - 10.5, 40 - 30.5]) / (side / 8))


def test_the_last_phase_of_sam_may_begin_from_a_saved_one(tmp_path: Path) -> None:
    backbone = micro_study().backbone
    assert isinstance(backbone, EmbeddedBackbone)
    recipe, sam = backbone.training, tiny_sam()
    prepared = prepare_scenes(sam, [scene((16, 16, 9), (40, 50, 12)), scene((30, 20, 14))])
    for name in "masks", "going_on", "again":
        (tmp_path / name).mkdir()
    train_masks(sam, prepared, recipe.masks, 2, 0, tmp_path / "masks", 100)
    sam.model.save_pretrained(tmp_path / "saved")
    train_together(sam, prepared, recipe.together, 2, 0, tmp_path / "going_on", 100)
    torch.rand(7)  # whatever else the process drew
    loaded = SamSegmenter(SamModel.from_pretrained(tmp_path / "saved"))
    record = train_together(loaded, prepared, recipe.together, 2, 0, tmp_path / "again", 100)
    ours, theirs = sam.model.state_dict(), loaded.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert {"colour", "place", "outline", "bce", "dice"} <= set(record.rows[-1])
