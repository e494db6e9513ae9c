"""What rewards that run a neural network share."""
