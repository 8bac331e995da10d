"""Pictures that explain an encode: ellipses of the Gaussians, error images, labelled panels. numpy only."""
