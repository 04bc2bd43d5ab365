"""Figures of a result against the real clip, their targets, and the HTML report (host code)."""
