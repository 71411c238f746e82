"""AU labels of a video from those of its frames."""

import numpy as np


def video_labels(presence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels [n] of a video and whether they are known [n]; AU-DFER, equation 4.

    An AU is present if it is in at least half of the frames in which it is known, and unknown if it is
    known in none.

    Args:
      presence: 0/1 (or bool) of each frame [T, n], NaN where unknown.
    """
    presence = np.asarray(presence, np.float32)
    frames = np.isfinite(presence).sum(0)
    known = frames > 0
    return (2 * np.nansum(presence, 0) >= frames) & known, known
