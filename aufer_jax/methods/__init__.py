"""What is trained: each method ties views, model and losses together."""
