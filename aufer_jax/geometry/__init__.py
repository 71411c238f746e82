"""Landmark forms, the mirror table, similarity alignment, the mean face; NumPy only."""
