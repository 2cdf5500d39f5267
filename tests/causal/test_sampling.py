"""Rounds over images, and ranges that no intervention's count divides."""

from segcompass.causal.sampling import cuts, round_images


def test_every_image_comes_once_before_any_comes_twice() -> None:
    items = ["a1", "a2", "a3", "b1", "c1", "c2"]
    everything = round_images(items, lambda item: item[0], 9)
    assert everything == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert round_images(items, lambda item: item[0], 4) == everything[:4]


def test_ranges_end_at_every_count() -> None:
    assert cuts(10, [3, 0, 8, 99], 4) == [range(3), range(3, 7), range(7, 8), range(8, 10)]
    assert cuts(0, [3], 4) == []
