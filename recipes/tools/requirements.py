"""Print what salt_fairseq requires, with the extra hub and without fairseq, for an environment that has one already."""

from importlib.metadata import requires

for text in requires("salt_fairseq") or ():
    requirement, _, extra = text.partition("; extra ==")
    if "fairseq==" not in requirement and extra.strip(" \"'") in ("", "hub"):
        print(requirement)
