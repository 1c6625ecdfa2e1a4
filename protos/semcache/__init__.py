"""Our wire contract of the semantic cache."""
