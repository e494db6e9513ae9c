"""Pure tensor functions: sampling, masking, advantages, losses, schedules of nothing but numbers."""
