"""What any of our processes needs; knows no limit and no cache."""
