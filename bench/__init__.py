"""Ratios taken in one run; `python -m bench` prints a table and keeps the JSON."""
