"""The model of one group of pictures: canonical Gaussians and the field that deforms them (Sec. II of the paper)."""
