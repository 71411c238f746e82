"""A trained network for everybody: one page for a browser, and the same over HTTP, from memory only."""
