"""The lookahead measures a video before anything is fitted: its content, scene cuts, and where GoPs end."""
