"""The papers, a folder each: method, tables, recipes, studies, published numbers.

Importing this registers their methods and studies. Of MV-FER only the abstract was at hand, so its folder
has no numbers.
"""

import pathlib

from aufer_jax.papers import study
from aufer_jax.papers.audfer import method as audfer
from aufer_jax.papers.audfer import studies as audfer_studies
from aufer_jax.papers.auvit import method as auvit
from aufer_jax.papers.auvit import studies as auvit_studies
from aufer_jax.papers.mae_dfer import method as mae_dfer
from aufer_jax.papers.mvfer import method as mvfer
from aufer_jax.papers.mvfer import studies as mvfer_studies
from aufer_jax.train import base

base.register("auvit", auvit.Options, auvit.build, auvit.inference)
base.register("mvfer", mvfer.Options, mvfer.build, mvfer.inference)
base.register("audfer", audfer.Options, audfer.build, audfer.inference)
base.register("mae_pretrain", mae_dfer.Options, mae_dfer.build, mae_dfer.inference)

_HERE = pathlib.Path(__file__).parent
study.register("mvfer", mvfer_studies.studies)
study.register("auvit", auvit_studies.studies, _HERE / "auvit" / "published.csv")
study.register("audfer", audfer_studies.studies, _HERE / "audfer" / "published.csv")
