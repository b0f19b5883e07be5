"""Export for llama.cpp: its own converter and programs, which are built once, and the check of what they write."""
