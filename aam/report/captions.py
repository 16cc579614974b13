"""What to see in each picture of a report."""

from __future__ import annotations

from aam.report.record import CURVES_FILE, UNIFRAC_FILE

CURVES = (
    "Each panel is one value over the steps of training. Falling errors and rising R² or accuracy on held-out samples "
    "(orange) show learning. If they get worse while training (blue) still improves, the model learns its training "
    "samples by heart. The number in the corner is the last held-out value, of several folds their mean; the metrics "
    "of the report are of all held-out predictions of the stored model, so they differ a little."
)
UNIFRAC = (
    "Each point is a pair of held-out samples, or a cell of many pairs. The nearer to the dashed line, the better its "
    "UniFrac is predicted. The table beneath has the baselines."
)
NUMBERS = (
    "Left: the prediction of each sample over its true value; on the dashed line it is exact. Each sample has an "
    "interval of its own, wider where the model is less sure: points are orange where the true value lies outside of "
    "it. With many samples the intervals are not drawn, but a band of their median. Right: how far each prediction is "
    "off. If the median falls from left to right, predictions are drawn towards the middle."
)
CLASSES = (
    "Left: how many samples of each true class (row) are predicted as each class (column), with their part of the "
    "row; predictions on the diagonal are right. Right: the part of right predictions at each probability that the "
    "model gives, with 95 % intervals; on the dashed line the probabilities agree with it."
)
DRIVERS = (
    "The ASVs with the largest shares of the influence: orange ones raise the explained output, blue ones lower it. "
    "In the check, deleting the ASVs with the largest shares must change the output more than random deletion; if "
    "not, the shares mean nothing. If deletion by attention or by abundance changes it more, these rank ASVs better."
)
CLADE_DRIVERS = (
    "Left: the ASVs and clades with the largest shares of the influence: orange ones raise the explained output, blue "
    "ones lower it. Right: how the output changes if their reads are taken out; without a bar, others take their place."
)
CAPTIONS = {CURVES_FILE: CURVES, UNIFRAC_FILE: UNIFRAC}
"""By file, of those that need no other knowledge."""
