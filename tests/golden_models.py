"""Which comparison a golden fixture's `model` asks for."""

import golden_2d
import golden_encoders
import golden_hosts
import golden_losses
import golden_transformers
import golden_video

COMPARISONS = {
    **golden_2d.COMPARISONS,
    **golden_encoders.COMPARISONS,
    **golden_hosts.COMPARISONS,
    **golden_losses.COMPARISONS,
    **golden_transformers.COMPARISONS,
    **golden_video.COMPARISONS,
}
