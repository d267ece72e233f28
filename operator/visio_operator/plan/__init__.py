"""Decisions, pure: what shall exist, in which order, how large, and why. No clock, no IO, no chance."""
