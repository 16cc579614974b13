"""A reference phylogeny whose tips lie on the columns of the 16S gene, and ASVs placed on it."""
