"""Published PyTorch checkpoints -> our parameters, and back."""
