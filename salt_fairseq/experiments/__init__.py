"""What the recipes ask about an experiment: whether it has the settings it was begun with, and how many updates a run takes."""
