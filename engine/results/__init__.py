"""What the numbers of a run are: its cells, and how many of them say something."""
