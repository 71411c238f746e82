"""What pyproject.toml cannot say: `configs/` is beside the package here and inside it once installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["aufer_jax*"]), "aufer_jax.configs"],
    package_dir={"aufer_jax.configs": "configs"},
)
