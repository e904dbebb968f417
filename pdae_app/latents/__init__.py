"""What lives in z-space: statistics and attribute directions."""
