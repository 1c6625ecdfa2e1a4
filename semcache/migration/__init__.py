"""Changing a namespace's embedding model while it serves: lineage, carrier, and the view of two stores."""
