"""What a page about a `.stgv` file shows: its bytes, pictures, Gaussians, models, and what each stream is worth."""
