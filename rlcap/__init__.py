"""Fine-tune image captioners by reinforcement learning."""

__version__ = "0.1.0"
