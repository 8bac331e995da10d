"""How other packages read and write `.stgv` files: torch's datasets, webdataset and imageio."""
