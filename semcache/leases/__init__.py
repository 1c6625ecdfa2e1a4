"""Implementations of the leases."""
