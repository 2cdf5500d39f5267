"""The closed vocabulary of the embedded world: attributes, places, relations, and facts about things that are never drawn."""

SHAPES = ("disc", "ring", "square", "triangle", "cross", "star")
ROUND_SHAPES = ("disc", "ring")
"""Targets of testA; testB has the angular ones, as RefCOCO splits people from other objects."""
COLOURS = {
    "red": (208, 40, 40),
    "orange": (240, 140, 30),
    "yellow": (240, 220, 50),
    "green": (40, 160, 70),
    "blue": (45, 90, 210),
    "purple": (140, 60, 170),
    "brown": (120, 75, 40),
    "white": (245, 245, 245),
}
"""Colour -> RGB before jitter."""
SIZES = ("small", "large")
PATTERNS = ("plain", "striped", "dotted")
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
"""Thirds of the image, row by row."""
ATTRIBUTES = {"colour": tuple(COLOURS), "shape": SHAPES, "size": SIZES, "pattern": PATTERNS, "place": PLACES}
"""Attribute -> its values."""
RELATIONS = ("left of", "right of", "above", "below")

COLOUR_FACTS = {
    "red": ("ripe tomato", "fire engine", "strawberry", "ruby"),
    "orange": ("carrot", "pumpkin", "traffic cone", "tangerine"),
    "yellow": ("banana", "lemon", "school bus", "canary"),
    "green": ("frog", "lawn", "cucumber", "emerald"),
    "blue": ("clear sky", "sapphire", "blueberry", "cornflower"),
    "purple": ("eggplant", "plum", "amethyst", "lavender"),
    "brown": ("chestnut", "chocolate bar", "tree trunk", "coffee bean"),
    "white": ("snowman", "swan", "sheet of paper", "polar bear"),
}
"""Colour -> things that have it."""
SHAPE_FACTS = {
    "disc": ("coin", "full moon", "dinner plate", "vinyl record"),
    "ring": ("doughnut", "bicycle tyre", "wedding band", "hula hoop"),
    "square": ("chess board tile", "sugar cube", "sticky note", "window pane"),
    "triangle": ("slice of pizza", "sail", "tent front", "yield sign"),
    "cross": ("plus sign", "ambulance sign", "windmill", "church emblem"),
    "star": ("starfish", "sheriff badge", "tree topper", "snow crystal"),
}
"""Shape -> things that have it."""
TAUGHT_THINGS = 2
"""Things of each value that instructions of the backbone's text name, the first ones; ReasonSeg names the other ones alone, which that
text knows from facts only."""

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight")


def place_of(row: float, column: float, height: int, width: int) -> str:
    """The place word of a point given in pixels: the third of the image, down and across, that holds it."""
    down, across = (min(2, int(3 * value / extent)) for value, extent in ((row, height), (column, width)))
    return PLACES[3 * down + across]
