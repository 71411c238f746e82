"""Which comparison a golden fixture's `model` asks for."""

import importlib

COMPARISONS = {}
for _name in ("golden_2d", "golden_video", "golden_transformers"):
    try:
        COMPARISONS |= importlib.import_module(_name).COMPARISONS
    except ModuleNotFoundError as error:
        if error.name != _name:
            raise
