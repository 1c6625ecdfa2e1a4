"""How often the semantic cache is right, against plain similarity in the same run; `python -m bench.quality`."""
