"""From a checkpoint and text to a data directory with candidates: import, binarize, distill."""
