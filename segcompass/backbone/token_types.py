"""Token types, numbered as in docs/architecture.md; a module of its own because metrics read them without loading torch."""

VISUAL, INSTRUCTION, THOUGHT, OTHER = 0, 1, 2, 255
"""`OTHER` marks padding, reference tokens and the end of the sequence."""
