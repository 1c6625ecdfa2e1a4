"""Our wire contracts of the rate limiter."""
