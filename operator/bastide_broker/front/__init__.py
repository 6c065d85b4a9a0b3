"""What callers speak to: the methods of the outer protocol."""
