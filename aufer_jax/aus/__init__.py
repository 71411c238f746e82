"""Where AU labels come from, and what they say about expressions."""
