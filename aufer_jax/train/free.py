"""The keys of a configuration that may change between two starts of one run."""

KEYS = frozenset({
    "data.workers", "data.threads", "data.ahead", "data.dir",
    "train.keep", "train.log_every", "train.save_every", "train.time_limit", "train.parallel",
    "train.trackers", "train.peak_tflops", "train.remat", "note",
})  # fmt: skip
