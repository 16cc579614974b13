"""What to see in each picture of a report."""

from __future__ import annotations

from aam.report.record import CURVES_FILE, UNIFRAC_FILE

CURVES = (
    "Each panel is one value over the steps of training. Falling errors and rising R² or accuracy on held-out samples "
    "(orange) show learning; where they turn while training (blue) goes on, the model learns its samples by heart. The "
    "number in the corner is the last held-out value."
)
UNIFRAC = (
    "Each point is a pair of held-out samples (of many, a cell of pairs): the nearer to the dashed line, the better "
    "its UniFrac is predicted. The table beneath has the baselines."
)
NUMBERS = (
    "Left: each sample's prediction over its true value, with its interval, or of many samples the median interval as "
    "a band: on the dashed line a prediction is exact; where the line leaves the intervals, they miss the truth. "
    "Right: how far each is off; a median that falls from left to right shows predictions drawn towards the middle."
)
CLASSES = (
    "Left: how many samples of each true class (row) are predicted as each class (column), and which part of the row; "
    "the diagonal is right. Right: the part that is right by the probability the model gives, with 95 % intervals: "
    "on the dashed line its probabilities are honest."
)
DRIVERS = (
    "The leading ones by their part of the influence: orange raises the explained output, blue lowers it. The check by "
    "deletion must rise above random deletion, or the ranking means nothing."
)
CLADE_DRIVERS = (
    "Left: the leading ones by their part of the influence: orange raises the explained output, blue lowers it. Right: "
    "what happens to the output if their reads are taken out; none there, and another took their place."
)
CAPTIONS = {CURVES_FILE: CURVES, UNIFRAC_FILE: UNIFRAC}
"""By file, of those that need no other knowledge."""
