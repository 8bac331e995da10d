"""The predicted payload of format 1.2: Gaussians as differences from those of the GoP before."""
