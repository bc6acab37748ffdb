"""Files of results, read for the tests of what the report makes of them."""

from salt_fairseq.report.results import as_results, check_runs, read_checkpoints


def read_results(systems, source=None, languages=None):
    """The results of ``systems``, a dict of name to files, where every checkpoint is a run of its own."""
    checkpoints = read_checkpoints(systems, source)
    check_runs(checkpoints.systems)
    return as_results(checkpoints, checkpoints.systems, languages)
