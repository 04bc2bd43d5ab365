"""See the README's code map."""
