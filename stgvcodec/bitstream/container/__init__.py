"""The file around the GoPs: chunks with checksums, the file header, the index, and the recovery of damaged files."""
