"""Metrics as sums: counted on devices, added over batches and hosts, divided once at the end."""
