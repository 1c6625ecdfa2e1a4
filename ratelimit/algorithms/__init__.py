"""Algorithms: how hits enter a counter, and how they leave it. `ratelimit.draw` has the words."""
