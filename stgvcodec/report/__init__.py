"""Figures of an encode: frames with their errors and Gaussians (numpy alone), rate-distortion tables and curves."""
