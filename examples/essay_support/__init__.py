"""What the essay example needs around its workflow: a model, prompts, the terminal, the command line."""
