"""A dataset is one card and one listing; from its files to records, checked and written."""
