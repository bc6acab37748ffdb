"""The network's parts, free of fairseq."""
