"""Wire contracts; generated Python stands beside them."""
