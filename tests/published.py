"""Numbers of the papers' own logs, to test against."""

import numpy as np

# MAE-DFER on DFEW's first fold: UAR 62.59, WAR 74.88, weighted F1 0.7441, macro F1 0.6357.
MAE_DFER_FOLD_1 = np.array(
    [
        [454, 7, 10, 14, 2, 1, 1],
        [5, 292, 49, 15, 11, 1, 6],
        [19, 30, 403, 38, 33, 5, 6],
        [9, 9, 49, 336, 22, 3, 7],
        [4, 11, 58, 9, 194, 0, 18],
        [0, 0, 16, 4, 3, 3, 3],
        [1, 20, 23, 17, 48, 1, 71],
    ]
)
