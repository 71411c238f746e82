"""The keys of a configuration that may change between two starts of one run."""

KEYS = frozenset({
    "data.workers", "data.threads", "data.ahead", "data.dir",
    "train.keep", "train.log_every", "train.save_every", "train.time_limit", "train.parallel",
    "train.trackers", "train.peak_tflops", "note",
})  # fmt: skip

# Keys that are younger than runs which are named by their configuration, and the value at which they do
# not count: what such a run is called does not change.
YOUNGER = {"data.aux_labels": ""}
