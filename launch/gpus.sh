#!/usr/bin/env bash
# Trains on the GPUs of this host, all of them driven by one process:
#
#   launch/gpus.sh --config=configs/auvit.py --workdir=runs/auvit
#
# On some of them: CUDA_VISIBLE_DEVICES=0,1 launch/gpus.sh ...
# Needs the package with its GPU libraries: pip install -e '.[cuda]' -c constraints.txt
set -euo pipefail
cd "$(dirname "$0")/.."

# JAX may take nearly all GPU memory at once: nothing else in the process uses any.
export XLA_PYTHON_CLIENT_MEM_FRACTION="${XLA_PYTHON_CLIENT_MEM_FRACTION:-0.9}"
# Sums of gradients over the GPUs run while the rest of the backward pass computes.
export XLA_FLAGS="${XLA_FLAGS:-} --xla_gpu_enable_latency_hiding_scheduler=true"

# Fails here if JAX can use no GPU; otherwise it would silently train on the CPU.
python -c 'import jax; print(jax.devices("gpu"))'
exec python -m aufer_jax.main "$@"
