"""From a dataset's files to records: one TFDS builder a dataset, ArrayRecord files."""
