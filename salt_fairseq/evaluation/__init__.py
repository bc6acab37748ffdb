"""What an evaluation is made of besides the forward passes: checkpoints that fit the data, measures, lines for a reader."""
