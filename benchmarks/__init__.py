"""The same work in durably, in LangGraph and at the bare limits, side by side: ``python -m benchmarks``."""
