"""Where streamlines are: the transforms that lead from one space to another."""
