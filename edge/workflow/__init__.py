"""What happens to a file after it is whole: planned, delivered, destroyed, accounted for."""
