"""All that is fed by chance, by name, and the share that each has of the cases."""

import pathlib

import clients
import foreign
import fuzz
import ours


def target(name: str, folder: pathlib.Path) -> fuzz.Target:
    """One of `SHARES`; it makes its whole files in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    make = {
        "images": lambda: fuzz.Target(fuzz.of(*foreign.pictures()), foreign.feed_image),
        "videos": lambda: fuzz.Target(fuzz.of(*foreign.clips(folder)), foreign.feed_video),
        "tables": lambda: fuzz.Target(
            fuzz.of(foreign.LABELS, foreign.TRACK, foreign.PY_FEAT, words=foreign.CELLS),
            foreign.feed_table,
        ),
        "AU tracks": lambda: fuzz.Target(
            fuzz.of(foreign.TRACK, foreign.PY_FEAT, words=foreign.CELLS), foreign.feed_track
        ),
        "landmark files": lambda: fuzz.Target(foreign.make_points(), foreign.feed_points),
        "arrays": lambda: fuzz.Target(
            fuzz.of(*foreign.arrays(), words=foreign.HEADERS), foreign.feed_array
        ),
        "checkpoints": lambda: fuzz.Target(
            fuzz.of(*foreign.pickles(folder), words=foreign.OPCODES), foreign.feed_pickle
        ),
        "requests": lambda: fuzz.Target(
            fuzz.of(*clients.whole(), words=clients.WORDS), clients.feed
        ),
        "safetensors": lambda: fuzz.Target(
            fuzz.of(foreign.tensors(), words=(b"F64", b"99999999", b"{", b'"')),
            foreign.feed_safetensors,
        ),
        "zips": lambda: fuzz.Target(fuzz.of(*foreign.archives()), foreign.feed_zip),
        "configuration": lambda: fuzz.Target(ours.make_configuration(), ours.feed_configuration),
        "command lines": lambda: fuzz.Target(ours.make_command(), ours.feed_command),
        "own checkpoints": lambda: ours.states(folder),
        "prepared data": lambda: ours.prepared(folder),
        "small files": lambda: fuzz.Target(ours.make_small, ours.feed_small),
    }
    return make[name]()


SHARES = {  # of all cases
    "images": 0.30, "videos": 0.02, "tables": 0.10, "AU tracks": 0.04, "landmark files": 0.06, "arrays": 0.08,
    "checkpoints": 0.16, "safetensors": 0.06, "zips": 0.06, "configuration": 0.08, "command lines": 0.02,
    "own checkpoints": 0.003, "prepared data": 0.003, "small files": 0.014,
    "requests": 0.02,
}  # fmt: skip
