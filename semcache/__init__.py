"""A cache of LLM answers, found by meaning."""
