"""All metadata is in pyproject.toml. The packages are here: setuptools finds none in a folder that is renamed (recipes)."""

from setuptools import find_namespace_packages, find_packages, setup

recipes = ["salt_fairseq.recipes", *(f"salt_fairseq.recipes.{folder}" for folder in find_namespace_packages("recipes"))]
setup(packages=[*find_packages(include=["salt_fairseq*", "preprocess*"]), *recipes])
