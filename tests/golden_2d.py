"""Image networks against their golden fixtures."""

COMPARISONS = {}
