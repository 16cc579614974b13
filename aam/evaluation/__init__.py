"""What a model is measured with: scores, baselines that learn nothing, folds, ordinations and figures.

Nothing here knows the network. Predictions and truth come in as arrays; small named records and PNG files go out.

    metrics              R2, MAE, Pearson of pairs; bootstrap intervals
    baselines, upgma     UniFrac without learning: calibrated Jaccard, calibrated UPGMA on Hamming distances
    consensus            masked nucleotides from base frequencies per position
    folds                k-fold, grouped, leave-one-group-out, stratified
    metadata_baselines   random forest, linear, k nearest neighbours and constant on a metadata column
    target_metrics       errors in the target's units, balanced accuracy, paired differences
    pcoa, agreement      ordination of a distance matrix; Mantel, Procrustes, neighbour recall, stress
    plots, curves        the figures; `plots` is the only file that imports matplotlib
"""
