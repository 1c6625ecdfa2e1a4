"""What `weir calibrate` does: labelled pairs in, a curve and a setting out."""
