"""Predictors in folders and on the Hugging Face Hub, by huggingface_hub's mixin.

HubPredictor.load("runs/auvit").save_pretrained("auvit")  # or .push_to_hub("me/auvit")
HubPredictor.from_pretrained("auvit").predict("photo.jpg")
"""

import dataclasses
import json
import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

import aufer_jax
from aufer_jax.errors import UserError
from aufer_jax.runs import packing
from aufer_jax.runs.predictor import Predictor
from aufer_jax.weights import shipped

try:
    from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download  # pyright: ignore
except ImportError as error:
    raise UserError(
        "hub: huggingface_hub is not installed; run: pip install 'aufer-jax[hub]'"
    ) from error

_PERCENT = (("accuracy", "accuracy"), ("uar", "UAR"), ("au_f1", "AU F1"))


class HubPredictor(Predictor, ModelHubMixin):
    """A `Predictor` with `save_pretrained`, `from_pretrained` and `push_to_hub`.

    What `save_pretrained` writes is read by `Predictor.load` and `aufer predict` too.
    """

    folder: pathlib.Path  # where it was loaded from
    _hub_mixin_config: Any = {}  # noqa: RUF012  (what is saved is all that there is to say)

    @classmethod
    def load(
        cls, path: str | pathlib.Path, config: ConfigDict | None = None, name: str = ""
    ) -> "HubPredictor":
        """As `Predictor.load`; `name`: what it is called, by default as its folder is."""
        found = Predictor.load(path, config)
        values: dict[str, Any] = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
        values["name"] = name or found.name
        made = cls(**values)
        made.folder = shipped.place(path)
        return made

    def _save_pretrained(self, save_directory: pathlib.Path) -> None:
        if self.run is None:
            packing.copy_converted(self.folder, save_directory)
            return
        variables = {"params": self.params, **self.model_state}
        packing.write(save_directory, self.folder, self.labels, variables, self.state, self.step)

    @classmethod
    def _from_pretrained(
        cls, *, model_id: str, cache_dir: Any, force_download: bool, local_files_only: bool,
        token: Any, revision: str | None = None, **_: Any,
    ) -> "HubPredictor":  # fmt: skip
        folder = pathlib.Path(model_id)
        if not folder.is_dir():
            folder = pathlib.Path(
                snapshot_download(
                    repo_id=model_id, revision=revision, cache_dir=cache_dir, token=token,
                    force_download=force_download, local_files_only=local_files_only,
                )
            )  # fmt: skip
        return cls.load(folder, name=pathlib.PurePosixPath(model_id).name)

    def generate_model_card(self, *_: Any, **__: Any) -> Any:
        """README.md: what the network is, what it measures, how it is used, what must be known before."""
        return ModelCard(self._card())

    def _card(self) -> str:
        count = sum(x.size for x in jax.tree.leaves(self.params))
        reads = f"clips of {self.frames} frames" if self.frames else "images"
        facts = {
            "input": f"{reads}, {self.size} x {self.size} pixels, aligned faces",
            "parameters": f"{count:,}",
            "expressions": ", ".join(self.expressions) or "none",
            "action units": ", ".join(map(str, self.aus)) or "none",
        }
        if self.run is not None:
            facts = {"method": self.run.method, "network": self.run.model["name"]} | facts
            facts["trained on"] = ", ".join([self.run.data.target, *self.run.data.aux])
            facts["seed"] = str(self.run.seed)
        lines = [f"| {name} | {value} |" for name, value in facts.items()]
        return _README.format(
            name=self.name,
            version=aufer_jax.__version__,
            facts="\n".join(lines),
            measured=_measured(self.folder, self.state),
        )


def _measured(folder: pathlib.Path, state: str) -> str:
    """The summary of the run, where it has finished."""
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    ending = "_best" if state == "best" else "_last"
    rows = []
    for split, values in summary.items():
        if not split.endswith(ending):
            continue
        told = [f"{title} {100 * values[n]:.1f} %" for n, title in _PERCENT if n in values]
        rows.append(f"- {split.removesuffix(ending)} split: {', '.join(told)}")
    return "\n".join(rows) or "Nothing was measured, or the run was not finished."


_README = """\
---
library_name: aufer_jax
pipeline_tag: image-classification
tags:
- facial-expression-recognition
- action-units
- jax
---

# {name}

A network for facial expressions and Action Units, trained with aufer_jax {version}.

| | |
|---|---|
{facts}

## How it is used

```python
from aufer_jax.runs.hub import HubPredictor

predictor = HubPredictor.from_pretrained("{name}")  # a folder, or owner/name on the Hub
table = predictor.predict("photographs")
```

Or, on its folder: `aufer predict photographs --model FOLDER --out table.csv`.

## What it measures

{measured}

These are numbers of its own data; other faces, cameras and labels give others, mostly lower ones.

## What must be known before

- An expression is not a feeling: the network names what a face shows, as those who labelled its data saw it.
- Errors differ between groups of people as its data do. Measure on people like yours first.
- The rights in the photographs and labels it learned from bind this network as they bind its data.
- In the European Union inferring emotions of people at work and in education is forbidden but for medical or
  safety reasons: AI Act, article 5(1)(f).
"""
