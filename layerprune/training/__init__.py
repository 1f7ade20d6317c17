"""Training: the recipe, the loop, its precision, several GPUs, and the states that it resumes from."""
