"""The 16S gene as one coordinate system: a profile, and where on it reads lie."""
