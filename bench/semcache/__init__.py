"""How fast the semantic cache is, and what it costs in memory."""
