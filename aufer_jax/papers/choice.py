"""Says in a run's first line what its config chose where nothing was given."""

from typing import Any

from aufer_jax.datasets import catalog


def is_own(name: str) -> bool:
    """Whether a dataset is the user's own: neither drawn nor published."""
    return not catalog.is_drawn(name) and (name not in catalog.cards() or catalog.card(name).own)


def note(target: str, arg: Any, *words: str, **chosen: str) -> str:
    """A sentence for `config.note`: "chosen for dfew: recipe=paper, host=m3dfel; ...".

    Args:
      target: the dataset for which it was chosen.
      arg: the arguments as `config.parse_argument` found them; what was given is left out.
      words: what was chosen without an argument of its own, if anything.
      chosen: argument -> what was chosen for it.
    """
    said = [*filter(None, words)]
    said += [f"{key}={value}" for key, value in chosen.items() if getattr(arg, key) in ("", ("",))]
    if not said:
        return ""
    return (
        f"chosen for {target}: {', '.join(said)}; to change one, give it after the config's colon"
    )
