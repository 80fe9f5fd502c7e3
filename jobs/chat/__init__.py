"""The models under test, any OpenAI-compatible endpoint, a GGUF file on this machine or a callable; and chat sweeps."""
