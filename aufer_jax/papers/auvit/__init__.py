"""AU-ViT (arXiv:2211.06609): auxiliary datasets teach through AUs."""
