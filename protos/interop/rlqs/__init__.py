"""Messages of others, wire-compatible, under our own package names."""
