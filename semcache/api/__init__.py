"""What the cache speaks to its callers."""
