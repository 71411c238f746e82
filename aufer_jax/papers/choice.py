"""Says in a run's first line what its config chose where nothing was given."""

from typing import Any


def note(target: str, arg: Any, **chosen: str) -> str:
    """A sentence for `config.note`: "chosen for dfew: recipe=paper, host=m3dfel; ...".

    Args:
      target: the dataset for which it was chosen.
      arg: the arguments as `config.parse_argument` found them; what was given is left out.
      chosen: argument -> what was chosen for it.
    """
    words = [f"{key}={value}" for key, value in chosen.items() if getattr(arg, key) in ("", ("",))]
    if not words:
        return ""
    return f"chosen for {target}: {', '.join(words)}; to change it, write it after the config's colon"
