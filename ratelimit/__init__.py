"""An Envoy rate limit service that counts tokens."""
