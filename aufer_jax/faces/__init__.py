"""Photograph -> aligned face."""
