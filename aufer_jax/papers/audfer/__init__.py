"""AU-DFER (arXiv:2507.07678): an AU loss weighted by AU-expression knowledge, on any video model."""
