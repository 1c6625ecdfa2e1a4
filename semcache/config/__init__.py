"""Where namespaces come from."""
