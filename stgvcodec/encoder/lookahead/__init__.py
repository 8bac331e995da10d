"""What the encoder learns of a video before it fits anything: content, scene cuts, and where GoPs end."""
