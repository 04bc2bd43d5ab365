"""Waveform to features at video rate, and voice activity; pure jnp, no I/O."""
