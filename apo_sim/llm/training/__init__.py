"""A run: the objective, one proximal step of it, momentum on parameters, and the outer loop."""
