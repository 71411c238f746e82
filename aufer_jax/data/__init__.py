"""Files -> records -> batches."""
