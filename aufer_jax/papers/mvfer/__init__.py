"""MV-FER: three views of a face, one of them drawn from its AUs."""
