"""Metrics with intervals, baselines without learning, calibration, and the audit of embeddings.

Functions take arrays and return small named records.

    metrics              R2, MAE, Pearson r of pairs; bootstrap intervals; metrics in words
    target_metrics       errors in the target's units, balanced accuracy, paired differences
    study_metrics        AUC, rank correlation and error in each study, over subjects, and their mean over studies
    baselines            UniFrac by calibrated Jaccard and calibrated UPGMA on Hamming; bases by position
    metadata_baselines   the baselines of a metadata column: trees, lines, neighbours, constant
    ordination           principal coordinates; Mantel, Procrustes, neighbour recall, stress of two matrices
    distance             predicted UniFrac and Faith PD beside those of a tree
    calibration          prediction intervals and temperatures from out-of-fold predictions
    audit                whether embeddings reveal subject, study or batch
"""
