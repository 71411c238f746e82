"""The papers, a folder each: method, tables, studies, published numbers.

Importing this registers their methods.
"""

from aufer_jax.papers.audfer import method as audfer
from aufer_jax.papers.auvit import method as auvit
from aufer_jax.papers.mae_dfer import method as mae_dfer
from aufer_jax.papers.mvfer import method as mvfer
from aufer_jax.train import base

base.register("auvit", auvit.Options, auvit.build, auvit.inference)
base.register("mvfer", mvfer.Options, mvfer.build, mvfer.inference)
base.register("audfer", audfer.Options, audfer.build, audfer.inference)
base.register("mae_pretrain", mae_dfer.Options, mae_dfer.build, mae_dfer.inference)
