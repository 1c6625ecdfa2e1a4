"""Qdrant server: the store of a fleet."""
