"""The set payload of format 1.1: Gaussians as a set, attributes conditioned on one another."""
