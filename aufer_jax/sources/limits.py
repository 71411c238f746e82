"""How much one file of others may hold, so that a small one cannot fill the memory.

The limits are generous for photographs and clips; $AUFER_MOST_PIXELS and its kin set others.
"""

import os

from aufer_jax.errors import UserError

FREE = 2**24  # bytes that any file may unpack to, whatever its own size
DEFAULTS = {
    "PIXELS": 2**27,  # of an image; a phone's 108 million are fewer
    "BYTES": 2**31,  # of one file as it is read
    "RATIO": 200,  # what a file unpacks to, in its own size
    "CLIP": 2**29,  # bytes of the frames of one record
    "DIRECTORY": 2**28,  # bytes; about two million files in a zip
}


def most(what: str) -> int:
    """The limit of that name."""
    text = os.environ.get(f"AUFER_MOST_{what}", "")
    if not text:
        return DEFAULTS[what]
    if not text.isdecimal() or not int(text):
        raise UserError(f"AUFER_MOST_{what}: {text!r} is not a whole number above 0")
    return int(text)


def hint(what: str) -> str:
    """What a refusal says of the limit."""
    return f"at most {most(what):,} are read (AUFER_MOST_{what})"
