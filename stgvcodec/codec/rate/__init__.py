"""Rate control: what a video's frames hold, what models cost, where GoPs end, and how each lands where it should."""
