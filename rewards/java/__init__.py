"""Programs that only Java has: METEOR and SPICE as processes that stay, and what SPICE needs besides."""
