"""The models under test: any OpenAI-compatible endpoint, a GGUF file on this machine, a callable."""
