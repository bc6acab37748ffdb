"""``salt train``: from a labelled file to a classifier, by the same commands that can be typed one by one."""
