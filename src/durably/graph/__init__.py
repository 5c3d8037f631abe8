"""What programs share that were written around graphs of steps."""
