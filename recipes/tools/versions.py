"""Print the row of docs/versions.md for this environment and the output of its tests, a file."""

import importlib.metadata as metadata
import platform
import re
import sys
from pathlib import Path

names = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
fairseq = next(name for name in ("ve-fairseq", "fairseq") if name in names)
packages = (fairseq, "torch", "numpy", "hydra-core", "omegaconf", "transformers")
cells = [platform.python_version(), *(metadata.version(package) for package in packages)]
cells[1] = f"{fairseq} {cells[1]}"
results = re.findall(r"^(?:=+ )?(\d+ (?:passed|failed|skipped|error).*?)(?: =+)?$", Path(sys.argv[1]).read_text(), re.M)
print("|", " | ".join([*cells, results[-1] if results else "none ended"]), "|")
