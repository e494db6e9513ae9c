"""Run folders, read without trust."""
