"""A reference evaluator of ML Programs: what a program says, computed by torch on any machine. Only gates use it."""
