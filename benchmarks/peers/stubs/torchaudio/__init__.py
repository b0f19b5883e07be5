"""Nothing: LLaMA-Factory imports torchaudio for audio, which is not used, and PyPI's refuses this version of torch."""
