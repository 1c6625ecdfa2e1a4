"""Implementations of the embedder."""
