"""What can be said of differences, and how sure it is. Pure functions of arrays."""
