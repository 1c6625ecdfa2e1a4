"""What we speak to callers."""
