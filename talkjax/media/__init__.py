"""The only reader and writer of video, audio and images; host side, uint8 pixels and float32 sound."""
