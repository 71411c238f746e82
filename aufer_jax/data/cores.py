"""The processor cores among which this process may share its work."""

import os


def cores() -> list[int]:
    """Their numbers: those of a container or a batch job may be fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
