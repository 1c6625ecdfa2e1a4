"""What `weir run` starts beside the rate limit service: an upstream, a real Envoy, and a look at both."""
