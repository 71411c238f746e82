#!/usr/bin/env bash
# Trains on all hosts of a TPU VM slice, started from your own machine:
#
#   TPU=my-slice ZONE=us-central2-b launch/tpu_vm.sh --config=configs/auvit.py --workdir=/mnt/shared/auvit
#
# Needs gcloud, logged in to your project. What it does, on every host of the slice at once
# (gcloud ... ssh --worker=all):
#   1. copies the last commit of this checkout there (changes that are not committed stay here);
#   2. makes a virtual environment and installs the package with JAX for TPU;
#   3. asks the host's metadata which worker it is and who the others are, and starts aufer_jax.main.
# The workdir is in a store (gs://bucket/runs/auvit; $EXTRAS=tpu,gcs installs what reads it), or in a folder that
# all hosts share (a mounted file store): every host writes its part of a checkpoint there. After a preemption, start the same command again to resume.
# $PYTHON is the interpreter on the hosts, 3.11 or newer (default python3.11).
set -euo pipefail
cd "$(dirname "$0")/.."
: "${TPU:?the name of the slice}" "${ZONE:?its zone}"
PYTHON=${PYTHON:-python3.11}
EXTRAS=${EXTRAS:-tpu}

archive=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$archive"' EXIT
git archive --format=tar.gz --output="$archive" HEAD
gcloud compute tpus tpu-vm scp "$archive" "$TPU:aufer.tar.gz" --zone="$ZONE" --worker=all

# Runs on every host; the arguments of this script arrive quoted.
on_host=$(cat <<'HOST'
set -euo pipefail
mkdir -p aufer
tar -xzf aufer.tar.gz -C aufer
cd aufer
"$PYTHON" -m venv .venv
source .venv/bin/activate
pip install --quiet -e ".[$EXTRAS]" -c constraints.txt
metadata() {
  curl -sf -H 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}
# worker-network-endpoints: "id:name:address" of every host, separated by commas, worker 0 first
IFS=, read -ra hosts <<< "$(metadata worker-network-endpoints)"
export AUFER_COORDINATOR="${hosts[0]##*:}:8476"
export AUFER_PROCESSES=${#hosts[@]}
AUFER_PROCESS=$(metadata agent-worker-number)
export AUFER_PROCESS
exec python -m aufer_jax.main "$@"
HOST
)
arguments=$(printf ' %q' "$@")
gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all \
  --command="PYTHON=$(printf %q "$PYTHON") EXTRAS=$(printf %q "$EXTRAS") bash -c $(printf %q "$on_host") aufer$arguments"
