"""The work that sweeps send out, written against `engine.kinds` alone."""
