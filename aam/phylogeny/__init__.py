"""Phylogenies as arrays, and what is measured on them: UniFrac, Faith PD, distances between ASVs."""
