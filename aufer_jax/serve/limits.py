"""What one visitor may ask of a server, so that none can take it from the others."""

import dataclasses

from aufer_jax.errors import UserError

MB = 10**6


@dataclasses.dataclass(frozen=True)
class Limits:
    """Each is an option of `aufer serve`."""

    body: int = 32  # MB of one upload
    held: int = 256  # MB of all uploads that are being read, wait or are being predicted
    pixels: int = 34  # million pixels of a picture or frame, counted before it is decoded
    frames: int = 900  # of a clip; what is longer is read up to there
    queue: int = 64  # pictures and clips that wait; more are answered with 503
    batch: int = 16  # pictures predicted at once
    timeout: float = 60.0  # seconds in which an upload must have arrived
    head: float = (
        15.0  # seconds in which a request's head must have arrived, and its answer be read on
    )
    connections: int = 256  # open at once; more are answered with 503

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise UserError(f"{field.name}: {value} must be above 0")
        if self.held < self.body:
            raise UserError(f"held: {self.held} MB must be at least one upload, {self.body} MB")
