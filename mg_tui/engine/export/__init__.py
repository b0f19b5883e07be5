"""Export of a result for other programs, and the proof that another form of it answers alike."""
