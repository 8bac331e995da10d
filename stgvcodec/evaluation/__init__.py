"""Measurement of how well the codec does: comparisons, and rate-distortion curves beside classical codecs."""
