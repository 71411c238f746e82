"""The training engine: state, optimizer, step, devices, checkpoints, loop, logging."""
