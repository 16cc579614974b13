"""What a model is measured with: scores, baselines that learn nothing, folds, ordinations and figures.

Scores, baselines and figures know no network: arrays come in, small named records and PNG files go out. `embed`,
`explain` and `heldout` are where a model meets a table.

    metrics              R2, MAE, Pearson of pairs; bootstrap intervals
    baselines, upgma     UniFrac without learning: calibrated Jaccard, calibrated UPGMA on Hamming distances
    consensus            masked nucleotides from base frequencies per position
    folds                k-fold, grouped, leave-one-group-out, stratified
    metadata_baselines   random forest, linear, k nearest neighbours and constant on a metadata column
    target_metrics       errors in the target's units, balanced accuracy, paired differences
    pcoa, agreement      ordination of a distance matrix; Mantel, Procrustes, neighbour recall, stress
    plots, curves        the figures; `plots` and its neighbours `*_plot` import matplotlib
    asvs, embed, samples ASVs and samples of a table under a model, with `asv_cache` on disk
    distance, explain    UniFrac of a table beside the truth; which ASVs drive an output
"""
