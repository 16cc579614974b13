"""Phylogenies as arrays, with UniFrac, Faith PD and patristic distances between ASVs."""
