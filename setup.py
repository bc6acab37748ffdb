"""Everything is in pyproject.toml but the packages: setuptools does not look for any in a folder that another name is given to."""

from setuptools import find_namespace_packages, find_packages, setup

recipes = ["salt_fairseq.recipes", *(f"salt_fairseq.recipes.{folder}" for folder in find_namespace_packages("recipes"))]
setup(packages=[*find_packages(include=["salt_fairseq*", "preprocess*"]), *recipes])
