"""How good a model is: metrics with intervals, baselines that learn nothing, calibration, the audit of embeddings.

Arrays come in, small named records go out.

    metrics              R2, MAE, Pearson r of pairs; bootstrap intervals; metrics in words
    target_metrics       errors in the target's units, balanced accuracy, paired differences
    baselines            UniFrac by calibrated Jaccard and calibrated UPGMA on Hamming; bases by position
    metadata_baselines   random forest, linear, k nearest neighbours and constant on a metadata column
    ordination           principal coordinates; Mantel, Procrustes, neighbour recall, stress of two matrices
    distance             predicted UniFrac and Faith PD beside those of a tree
    calibration          prediction intervals and temperatures from out-of-fold predictions
    audit                what else can be read off embeddings: subject, study, batch
"""
