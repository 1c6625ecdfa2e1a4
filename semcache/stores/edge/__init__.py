"""Qdrant Edge: the store in this machine, durable, one process beside the service."""
