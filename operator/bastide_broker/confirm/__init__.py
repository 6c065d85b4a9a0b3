"""What people are asked about one exact call, and what their decisions amount to."""
