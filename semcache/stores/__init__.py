"""Implementations of the entry store."""
